/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counting: the only writers of the counters, drops, events and ends maps, and beside
 * the sweep, which puts them right, of the active connections.
 *
 * Per-CPU rows need no lock where a program runs with bottom halves off (tc, XDP).
 * Socket hooks run in the task's own context and can be preempted by another that
 * lands on the same row, so that path adds atomically; it counts per connection.
 */
#ifndef FAIRLEAD_COUNT_H
#define FAIRLEAD_COUNT_H

#include <stdbool.h>

#include "maps.h"

static __always_inline void count_add(__u64 *counter, __u64 amount, const enum hook_path path)
{
	if (path == PATH_SOCK)
		__sync_fetch_and_add(counter, amount);
	else if (MAY_WRITE)
		*counter += amount;
}

/* count_drop() - DROP_NONE counts nothing, so a step's result can be passed as it is. */
static __always_inline void count_drop(enum drop_reason reason, const enum hook_path path)
{
	__u32 index = (__u32)reason * PATH_COUNT + path;
	__u64 *row;

	if (reason == DROP_NONE)
		return;
	NOTE(drop, reason);
	row = bpf_map_lookup_elem(&drops, &index);
	if (row)
		count_add(row, 1, path);
}

static __always_inline void count_event(enum event event, const enum hook_path path)
{
	__u32 index = (__u32)event * PATH_COUNT + path;
	__u64 *row = bpf_map_lookup_elem(&events, &index);

	NOTE(events, explanation.events | 1U << event);
	if (row)
		count_add(row, 1, path);
}

static __always_inline struct counters *counters_of(__u32 backend_id, const enum hook_path path)
{
	__u32 index = backend_id * PATH_COUNT + path;

	return bpf_map_lookup_elem(&counters, &index);
}

static __always_inline void count_connection(__u32 backend_id, const enum hook_path path)
{
	struct counters *row = counters_of(backend_id, path);

	if (row)
		count_add(&row->connections, 1, path);
}

static __always_inline void count_end(enum flow_end reason, const enum hook_path path)
{
	__u32 index = (__u32)reason * PATH_COUNT + path;
	__u64 *row = bpf_map_lookup_elem(&ends, &index);

	if (row)
		count_add(row, 1, path);
}

/* count_end_of() - the same for its backend; @alive: that is there yet, else for its service. */
static __always_inline void count_end_of(__u32 backend_id, __u32 service_id, bool alive,
					 enum flow_end reason, const enum hook_path path)
{
	__u32 index = (alive ? backend_id : service_id) * PATH_COUNT + path;
	struct ended *row;
	__u64 *gone;

	if (alive) {
		row = bpf_map_lookup_elem(&backend_ends, &index);
		if (row)
			__sync_fetch_and_add(&row->by[reason], 1);
	} else {
		gone = bpf_map_lookup_elem(&gone_ends, &index);
		if (gone)
			__sync_fetch_and_add(gone, 1);
	}
}

/*
 * count_down() - one less, but never below 0.
 *
 * A gauge can be behind: it is put right by a recount that may miss what ends meanwhile.
 */
static __always_inline void count_down(__u64 *gauge)
{
	if (!*gauge)
		return;
	if (!__sync_fetch_and_add(gauge, -1))
		__sync_fetch_and_add(gauge, 1);
}

static __always_inline void count_active(__u32 backend_id, bool begins, const enum hook_path path)
{
	__u64 *all = bpf_map_lookup_elem(&actives, &backend_id);
	__u64 *own = path == PATH_SOCK ? bpf_map_lookup_elem(&sock_actives, &backend_id) : NULL;

	if (all && begins)
		__sync_fetch_and_add(all, 1);
	else if (all)
		count_down(all);
	if (own && begins)
		__sync_fetch_and_add(own, 1);
	else if (own)
		count_down(own);
}

/* The direction of traffic: IN is client to service. */
enum dir { DIR_IN, DIR_OUT };

/*
 * count_packet() - count traffic of one backend.
 * @packets: on the wire, so a segmentation-offload packet counts as its segments
 * @bytes:   of the same, from the IP header on
 */
static __always_inline void count_packet(__u32 backend_id, const enum hook_path path,
					 const enum dir dir, __u64 packets, __u64 bytes)
{
	struct counters *row = counters_of(backend_id, path);

	if (!row)
		return;
	if (dir == DIR_IN) {
		count_add(&row->packets_in, packets, path);
		count_add(&row->bytes_in, bytes, path);
	} else {
		count_add(&row->packets_out, packets, path);
		count_add(&row->bytes_out, bytes, path);
	}
}

#endif
