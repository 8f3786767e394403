/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Selection: which backend takes a new flow. Knows rings, cursors and what backends
 * have, nothing of packets, sockets or flows; the caller looks the service up, says who
 * asks, and records the choice.
 */
#ifndef FAIRLEAD_SELECT_H
#define FAIRLEAD_SELECT_H

#include <stdbool.h>

#include <linux/in.h>

#include "affinity.h"
#include "backend.h"
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

/* Where in the ring to look. */
struct search {
	__u32 ring;
	__u32 slots;  /* not 0 */
	__u32 slot;   /* the one to look at */
	__u32 second; /* the one after the first */
	__u32 tries;
	__u32 service;
	__u32 upper; /* of the service */
	__u32 lower;
	__u64 best_active;
	__u32 best_weight;
	__u32 best;	 /* backend id; 0: none so far */
	__u8 least;	 /* the least loaded of those tried, or the first */
	__u8 sampled;	 /* two that were drawn by lot suffice */
	__u8 weighted;	 /* loads are divided by weights */
	__u8 overloaded; /* some were full */
};

/* Who asks for a backend, as far as the choice depends on it. */
struct asker {
	struct affinity_key key; /* `service` is filled in here */
	__u64 hash;		 /* for sh and maglev: hash.h */
	__u32 skip;		 /* how many earlier choices would not do */
	__u8 path;		 /* enum hook_path */
	__u8 protocol;		 /* IPPROTO_TCP or IPPROTO_UDP */
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
	if (search->tries > slots)
		search->tries = slots;
	search->service = service_id;
	search->upper = svc->upper;
	search->lower = svc->lower;
	search->weighted = algorithm == ALGORITHM_WLC;
	if (algorithm == ALGORITHM_SH || algorithm == ALGORITHM_MAGLEV) {
		search->slot = hash_place(asker->hash, slots) + asker->skip;
		if (search->slot >= slots)
			search->slot %= slots;
		search->second = search->slot + 1 < slots ? search->slot + 1 : 0;
		return;
	}
	step = __sync_fetch_and_add(placed, 1);
	NOTE(placed, step);
	if (search->sampled) {
		search->slot = drawn(service_id, slots, 2 * step);
		search->second = drawn(service_id, slots - 1, 2 * step + 1);
		if (search->second >= search->slot)
			search->second++;
		return;
	}
	/* Those with as few flows as the least take turns. */
	search->slot =
		algorithm == ALGORITHM_RANDOM ? drawn(service_id, slots, step) : step % slots;
	search->second = search->slot + 1 < slots ? search->slot + 1 : 0;
}

/*
 * look_at() - try one slot. A callback of bpf_loop, or the verifier would walk through
 * every one of its turns.
 *
 * Loads are compared as products: active / weight < least / least's weight. A backend
 * of weight 0 is in the ring only if all are, and then they are equals.
 *
 * Returns 1 when the search is over.
 */
static long look_at(__u32 turn, struct search **held)
{
	struct search *search = *held;
	__u32 index = search->ring + search->slot, id;
	__u64 active = 0;
	__u32 weight = 1;
	struct backend *found;
	__u32 *cell;

	search->slot = turn ? search->slot + 1 : search->second;
	if (search->slot >= search->slots)
		search->slot = 0;
	cell = bpf_map_lookup_elem(&slots, &index);
	if (!cell)
		return 0;
	id = *cell;
	found = backend_of(id, search->service);
	if (!found)
		return 0;
	if (search->least || search->upper)
		active = active_of(id);
	if (is_overloaded(search->upper, search->lower, id, active)) {
		search->overloaded = 1;
		return 0;
	}
	if (search->weighted && found->weight)
		weight = found->weight;
	if (!search->best || active * search->best_weight < search->best_active * weight) {
		search->best = id;
		search->best_active = active;
		search->best_weight = weight;
	}
	return !search->least || (search->sampled && turn);
}

/*
 * first_choice() - the slot that the algorithm names, where nothing has to be compared.
 * @id: usable only when a backend is returned
 *
 * Returns the backend's row; NULL: it will not do, or a search is needed.
 */
static __always_inline struct backend *first_choice(const struct search *search, __u32 *id)
{
	__u32 index = search->ring + search->slot;
	__u32 *cell;

	if (search->least || search->upper)
		return NULL;
	cell = bpf_map_lookup_elem(&slots, &index);
	if (!cell)
		return NULL;
	*id = *cell;
	return backend_of(*cell, search->service);
}

/*
 * search_ring() - find the backend.
 *
 * A global function: verified once, and knowing nothing of what is in @search, so that
 * its turns look alike to the verifier.
 *
 * Returns the backend's id; 0: none will do, and @search tells why.
 */
__noinline __u32 search_ring(struct search *search)
{
	if (!search)
		return 0;
	/* The context has to be on the stack. */
	bpf_loop(search->tries, look_at, &search, 0);
	if (search->best)
		fill_up(search->upper, search->best, search->best_active);
	return search->best;
}

/*
 * pick_backend() - choose the backend of a new flow.
 * @svc:        service row
 * @service_id: its id
 * @v6:         which of its rings
 * @asker:      who asks; its key is masked if the service has affinity
 * @search:     of any content; used
 * @backend_id: usable only when the result is DROP_NONE
 * @backend:    its row, a map value; usable only when the result is DROP_NONE
 *
 * Returns DROP_NONE, DROP_NO_BACKEND (the ring is empty: refuse), DROP_OVERLOADED
 * (refuse) or DROP_BAD_SLOT.
 */
static __always_inline enum drop_reason pick_backend(const struct service *svc, __u32 service_id,
						     const bool v6, struct asker *asker,
						     struct search *search, __u32 *backend_id,
						     struct backend **backend)
{
	struct cursor *cursor;
	__u64 now = 0;

	__builtin_memset(search, 0, sizeof(*search));
	search->ring = v6 ? svc->ring6 : svc->ring4;
	search->slots = v6 ? svc->slots6 : svc->slots4;
	if (!search->slots)
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
	plan_search(svc, service_id, asker,
		    &cursor->placed[(v6 ? 2 : 0) + (asker->protocol == IPPROTO_UDP)], search);
	NOTE(searched, 1);
	NOTE(hash, asker->hash);
	NOTE(slots, search->slots);
	NOTE(slot, search->slot);
	NOTE(sampled, search->sampled);
	*backend = first_choice(search, backend_id);
	if (!*backend) {
		*backend_id = search_ring(search);
		if (!*backend_id)
			return search->overloaded ? DROP_OVERLOADED : DROP_BAD_SLOT;
		*backend = backend_of(*backend_id, service_id);
	}
	if (!*backend)
		return DROP_BAD_SLOT;
	if (svc->affinity_seconds && !asker->skip &&
	    affinity_put(svc, &asker->key, now, backend_id, backend))
		count_event(EVENT_AFFINITY_MOVED, asker->path);
	return DROP_NONE;
}

#endif
