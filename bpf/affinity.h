/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Affinity: the backend that a client had is its backend again, for a time. The only
 * writer of the affinities map; asked once a flow.
 */
#ifndef FAIRLEAD_AFFINITY_H
#define FAIRLEAD_AFFINITY_H

#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "backend.h"
#include "limits.h"
#include "maps.h"

#define NS_PER_SECOND 1000000000ULL
#define MAPPED_BITS 96 /* of a v4-mapped address, before the IPv4 one */

/* affinity_mask() - leave of a client's address what identifies it to the service. */
static __always_inline void affinity_mask(const struct service *svc, struct affinity_key *key)
{
	int bits;
	int i;

	if (key->kind == CLIENT_ADDRESS4)
		bits = MAPPED_BITS + svc->affinity_prefix4;
	else if (key->kind == CLIENT_ADDRESS6)
		bits = svc->affinity_prefix6;
	else
		return;
#pragma unroll
	for (i = 0; i < 4; i++, bits -= 32) {
		if (bits <= 0)
			key->client[i] = 0;
		else if (bits < 32)
			key->client[i] &= bpf_htonl(~0U << (32 - bits));
	}
}

/*
 * affinity_get() - the backend that the client keeps.
 * @key:        masked
 * @now:        bpf_ktime_get_ns()
 * @backend_id: usable only when the result is not NULL
 *
 * Returns NULL when it has none, or has been away too long, or that backend takes no
 * new flows by now.
 */
static __always_inline struct backend *affinity_get(const struct service *svc,
						    const struct affinity_key *key, __u64 now,
						    __u32 *backend_id)
{
	struct affinity *row = bpf_map_lookup_elem(&affinities, key);
	struct backend *backend;

	if (row) {
		NOTE(kept, row->backend);
		NOTE(kept_ns, row->last_seen_ns);
	}
	/* Another CPU may have written a later time than @now. */
	if (!row || row->last_seen_ns + svc->affinity_seconds * NS_PER_SECOND < now)
		return NULL;
	*backend_id = row->backend;
	backend = backend_alive(*backend_id, key->service, row->incarnation);
	if (!backend || backend->flags & BACKEND_CLOSED)
		return NULL;
	if (is_overloaded(svc->upper, svc->lower, *backend_id, active_of(*backend_id)))
		return NULL;
	if (MAY_WRITE)
		row->last_seen_ns = now;
	return backend;
}

/*
 * affinity_put() - remember a choice.
 * @backend_id, @backend: the choice; another's, if another CPU was faster for the
 *                        same client, which may open several connections at once
 *
 * Returns whether the client had another backend before.
 */
static __always_inline bool affinity_put(const struct service *svc, const struct affinity_key *key,
					 __u64 now, __u32 *backend_id, struct backend **backend)
{
	struct affinity row = {
		.backend = *backend_id,
		.incarnation = (*backend)->incarnation,
		.last_seen_ns = now,
	};
	struct backend *other;
	__u32 other_id = 0;

	if (!bpf_map_update_elem(&affinities, key, &row, BPF_NOEXIST))
		return false;
	other = affinity_get(svc, key, now, &other_id);
	if (other) {
		*backend_id = other_id;
		*backend = other;
		return false;
	}
	return !bpf_map_update_elem(&affinities, key, &row, BPF_EXIST);
}

#endif
