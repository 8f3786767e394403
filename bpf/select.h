/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Selection: which backend takes a new flow. Knows rings, cursors and what backends
 * have, nothing of packets, sockets or flows; the caller looks the service up, says who
 * asks, and records the choice.
 */
#ifndef FAIRLEAD_SELECT_H
#define FAIRLEAD_SELECT_H

#include <stdbool.h>

#include "affinity.h"
#include "config.h"
#include "count.h"
#include "hash.h"
#include "limits.h"
#include "maps.h"

/*
 * A ring names an unusable backend only while the agent is between two writes, or
 * after a row was changed by hand; the neighbours then serve instead.
 */
#define SLOT_TRIES 4

/* Least-conn looks at every backend up to that many; of more, at two drawn by lot. */
#define SCAN_SLOTS 64

/* Who asks for a backend, as far as the choice depends on it. */
struct asker {
	struct affinity_key key; /* `service` is filled in here */
	__u64 hash;		 /* for sh and maglev: hash.h */
	__u32 skip;		 /* how many earlier choices would not do */
	__u32 path;		 /* enum hook_path */
};

/* Where in the ring to look. */
struct search {
	__u32 ring;
	__u32 slots;  /* not 0 */
	__u32 first;  /* the slot to begin with */
	__u32 second; /* which comes next */
	__u32 tries;
	bool least;   /* the least loaded of those tried, or the first */
	bool sampled; /* two that were drawn by lot suffice */
};

/*
 * drawn() - a pseudo-random slot.
 * @step: how many were drawn for the service before
 *
 * It depends on seed, service and step alone, so that a test can repeat it.
 */
static __always_inline __u32 drawn(__u32 service_id, __u32 slots, __u64 step)
{
	__u64 state = random_seed + ((__u64)service_id << 40) + (step + 1) * HASH_START;

	return hash_place(splitmix64(state), slots);
}

/* plan_search() - @search->ring and ->slots are set; the rest follows from the algorithm. */
static __always_inline void plan_search(const struct service *svc, __u32 service_id,
					const struct asker *asker, __u64 *placed,
					struct search *search)
{
	__u32 slots = search->slots;
	__u8 algorithm = svc->algorithm;
	__u64 step;

	search->least = algorithm == ALGORITHM_LC || algorithm == ALGORITHM_WLC;
	search->sampled = search->least && slots > SCAN_SLOTS;
	search->tries = search->least || svc->upper ? SCAN_SLOTS : SLOT_TRIES;
	if (algorithm == ALGORITHM_SH || algorithm == ALGORITHM_MAGLEV) {
		search->first = hash_place(asker->hash, slots) + asker->skip;
		if (search->first >= slots)
			search->first %= slots;
		search->second = search->first + 1 < slots ? search->first + 1 : 0;
		return;
	}
	step = __sync_fetch_and_add(placed, 1);
	if (search->sampled) {
		search->first = drawn(service_id, slots, 2 * step);
		search->second = drawn(service_id, slots - 1, 2 * step + 1);
		if (search->second >= search->first)
			search->second++;
		return;
	}
	/* Those with as few flows as the least take turns. */
	search->first = algorithm == ALGORITHM_RANDOM ? drawn(service_id, slots, step)
						      : step % slots;
	search->second = search->first + 1 < slots ? search->first + 1 : 0;
}

/*
 * search_ring() - find the backend.
 *
 * Loads are compared as products: active / weight < least / least's weight. A backend
 * of weight 0 is in the ring only if all are, and then they are equals.
 *
 * Returns DROP_NONE, DROP_OVERLOADED (all that were tried are full) or DROP_BAD_SLOT.
 */
static __always_inline enum drop_reason search_ring(const struct service *svc, __u32 service_id,
						    const struct search *search, __u32 *backend_id,
						    struct backend **backend)
{
	const bool weighted = svc->algorithm == ALGORITHM_WLC;
	__u32 slot = search->first, index, best = 0, weight;
	__u64 active = 0, least = 0, least_weight = 1;
	bool overloaded = false;
	struct backend *found;
	__u32 *id;
	__u32 i;

	for (i = 0; i < SCAN_SLOTS; i++) {
		if (i >= search->tries || i >= search->slots)
			break;
		if (i >= 2 && search->sampled && best)
			break;
		index = search->ring + slot;
		slot = i ? slot + 1 : search->second;
		if (slot >= search->slots)
			slot = 0;
		id = bpf_map_lookup_elem(&slots, &index);
		if (!id)
			continue;
		found = backend_of(*id, service_id);
		if (!found)
			continue;
		if (search->least || svc->upper) {
			active = active_of(*id);
			if (is_overloaded(svc, *id, active)) {
				overloaded = true;
				continue;
			}
		}
		weight = weighted && found->weight ? found->weight : 1;
		if (best && active * least_weight >= least * weight)
			continue;
		best = *id;
		least = active;
		least_weight = weight;
		if (!search->least)
			break;
	}
	if (!best)
		return overloaded ? DROP_OVERLOADED : DROP_BAD_SLOT;
	fill_up(svc, best, least);
	*backend_id = best;
	*backend = backend_of(best, service_id);
	return *backend ? DROP_NONE : DROP_BAD_SLOT;
}

/*
 * pick_backend() - choose the backend of a new flow.
 * @svc:        service row
 * @service_id: its id
 * @v6:         which of its rings
 * @asker:      who asks; its key is masked if the service has affinity
 * @backend_id: usable only when the result is DROP_NONE
 * @backend:    its row, a map value; usable only when the result is DROP_NONE
 *
 * Returns DROP_NONE, DROP_NO_BACKEND (the ring is empty: refuse), DROP_OVERLOADED
 * (refuse) or DROP_BAD_SLOT.
 */
static __always_inline enum drop_reason pick_backend(const struct service *svc, __u32 service_id,
						     const bool v6, struct asker *asker,
						     __u32 *backend_id, struct backend **backend)
{
	struct search search = {
		.ring = v6 ? svc->ring6 : svc->ring4,
		.slots = v6 ? svc->slots6 : svc->slots4,
	};
	enum drop_reason reason;
	struct cursor *cursor;
	__u64 now = 0;

	if (!search.slots)
		return DROP_NO_BACKEND;
	cursor = bpf_map_lookup_elem(&cursors, &service_id);
	if (!cursor)
		return DROP_BAD_SLOT;
	if (svc->affinity_seconds) {
		now = bpf_ktime_get_ns();
		asker->key.service = service_id;
		affinity_mask(svc, &asker->key);
		/* Who asks again has reason not to want the one it keeps. */
		*backend = asker->skip ? NULL : affinity_get(svc, &asker->key, now, backend_id);
		if (*backend)
			return DROP_NONE;
	}
	plan_search(svc, service_id, asker, v6 ? &cursor->placed6 : &cursor->placed4, &search);
	reason = search_ring(svc, service_id, &search, backend_id, backend);
	if (reason == DROP_NONE && svc->affinity_seconds && !asker->skip &&
	    affinity_put(svc, &asker->key, now, backend_id, backend))
		count_event(EVENT_AFFINITY_MOVED, asker->path);
	return reason;
}

#endif
