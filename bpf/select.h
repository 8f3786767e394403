/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Selection: which backend takes a new flow. Knows rings and cursors, nothing of
 * packets, sockets or flows; the caller looks the service up and records the choice.
 *
 * splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
 */
#ifndef FAIRLEAD_SELECT_H
#define FAIRLEAD_SELECT_H

#include <stdbool.h>

#include "config.h"
#include "maps.h"

/*
 * A ring names an unusable backend only while the agent is between two writes, or
 * after a row was changed by hand; the neighbours then serve instead.
 */
#define SLOT_TRIES 4

static __always_inline __u64 splitmix64(__u64 state)
{
	state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
	state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
	return state ^ (state >> 31);
}

/*
 * place() - where in the ring the next flow goes, before any retry.
 * @slots: ring size, not 0
 * @step:  how many flows the service placed before this one in this family
 *
 * The random choice multiplies instead of dividing: the bias is below slots / 2^32.
 * It depends on seed, service and step alone, so that a test can repeat it.
 */
static __always_inline __u32 place(__u8 algorithm, __u32 service_id, __u32 slots, __u64 step)
{
	__u64 state;

	if (algorithm != ALGORITHM_RANDOM)
		return step % slots;
	state = random_seed + ((__u64)service_id << 40) + (step + 1) * 0x9e3779b97f4a7c15ULL;
	return ((splitmix64(state) >> 32) * slots) >> 32;
}

/*
 * backend_of() - the backend row of an id, if it still serves that service.
 *
 * Returns NULL when the row is free or belongs to another service by now.
 */
static __always_inline struct backend *backend_of(__u32 backend_id, __u32 service_id)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &backend_id);

	if (!backend || !service_id || backend->service != service_id)
		return NULL;
	return backend;
}

/*
 * backend_alive() - the same for a recorded choice: also not another incarnation,
 * which a reused id would be.
 */
static __always_inline struct backend *backend_alive(__u32 backend_id, __u32 service_id,
						     __u32 incarnation)
{
	struct backend *backend = backend_of(backend_id, service_id);

	if (!backend || backend->incarnation != incarnation)
		return NULL;
	return backend;
}

/*
 * pick_backend() - choose the backend of a new flow and advance the cursor.
 * @svc:        service row
 * @service_id: its id
 * @v6:         which of its rings; a constant
 * @backend_id: usable only when the result is DROP_NONE
 * @backend:    its row, a map value; usable only when the result is DROP_NONE
 *
 * Returns DROP_NONE, DROP_NO_BACKEND (the ring is empty: refuse) or DROP_BAD_SLOT.
 */
static __always_inline enum drop_reason pick_backend(const struct service *svc, __u32 service_id,
						     const bool v6, __u32 *backend_id,
						     struct backend **backend)
{
	__u32 ring = v6 ? svc->ring6 : svc->ring4;
	__u32 count = v6 ? svc->slots6 : svc->slots4;
	struct cursor *cursor;
	__u32 slot, index;
	__u32 *id;
	int try;

	if (!count)
		return DROP_NO_BACKEND;
	cursor = bpf_map_lookup_elem(&cursors, &service_id);
	if (!cursor)
		return DROP_BAD_SLOT;
	slot = place(svc->algorithm, service_id, count,
		     __sync_fetch_and_add(v6 ? &cursor->placed6 : &cursor->placed4, 1));
	for (try = 0; try < SLOT_TRIES; try++) {
		index = ring + slot;
		id = bpf_map_lookup_elem(&slots, &index);
		if (id) {
			*backend_id = *id;
			*backend = backend_of(*backend_id, service_id);
			if (*backend)
				return DROP_NONE;
		}
		slot = slot + 1 < count ? slot + 1 : 0;
	}
	return DROP_BAD_SLOT;
}

#endif
