/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long handshakes take, of those flows that were chosen when they began. The only
 * writer of `handshakes` beside the agent.
 */
#ifndef FAIRLEAD_HANDSHAKE_H
#define FAIRLEAD_HANDSHAKE_H

#include "config.h"
#include "maps.h"
#include "observe.h"

/* Too large for the stack. */
static const struct handshakes no_handshakes = {};

static __always_inline void handshake_count(__u32 id, enum handshake_part part, __u32 path,
					    __u64 took_ns)
{
	struct handshake_key key = {.id = id, .part = part, .path = path};
	struct handshakes *row = bpf_map_lookup_elem(&handshakes, &key);
	__u32 i;

	if (!row) {
		/* Another CPU may make it just now. */
		bpf_map_update_elem(&handshakes, &key, &no_handshakes, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&handshakes, &key);
		if (!row)
			return;
	}
	for (i = 0; i < HANDSHAKE_BUCKETS - 1; i++)
		if (took_ns <= handshake_bounds_ns[i])
			break;
	__sync_fetch_and_add(&row->sum_ns, took_ns);
	__sync_fetch_and_add(&row->counts[i], 1);
}

/*
 * handshake_step() - of a flow with FLOW_TIMED, the backend has answered, or its client has.
 *
 * Where the backend answers the client by another way, its answer is never seen, and
 * neither part is counted.
 */
__noinline int handshake_step(const struct flow *row, __u32 part, __u32 path)
{
	struct observation *noted;
	__u64 now;

	if (!row)
		return 0;
	noted = observation_of(row->observed);
	if (!noted)
		return 0;
	now = bpf_ktime_get_ns();
	if (part == HANDSHAKE_CLIENT) {
		if (noted->answered_ns)
			handshake_count(row->service, HANDSHAKE_CLIENT, path,
					now - noted->answered_ns);
	} else if (!noted->answered_ns) {
		noted->answered_ns = now;
		handshake_count(row->backend, HANDSHAKE_BACKEND, path, now - noted->begun_ns);
	}
	return 0;
}

#endif
