/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits of a service: which clients may use it, and how many flows a backend may
 * have. Asked once a flow, never by packets of one that is known.
 */
#ifndef FAIRLEAD_LIMITS_H
#define FAIRLEAD_LIMITS_H

#include <stdbool.h>

#include "maps.h"

static __always_inline __u64 active_of(__u32 backend_id)
{
	__u64 *active = bpf_map_lookup_elem(&actives, &backend_id);

	return active ? *(volatile __u64 *)active : 0;
}

/*
 * is_overloaded() - has the backend as many flows as it may?
 * @active: flows it has
 *
 * Once it has, it takes none until it has fewer than `lower`, as IPVS does: else each
 * flow that ends would let in one.
 */
static __always_inline bool is_overloaded(__u32 upper, __u32 lower, __u32 backend_id, __u64 active)
{
	__u32 *mark;

	if (!upper)
		return false;
	mark = bpf_map_lookup_elem(&overloads, &backend_id);
	if (!mark)
		return false;
	if (!MAY_WRITE)
		return active >= upper || (*mark && active >= lower);
	if (active >= upper)
		*mark = 1;
	else if (*mark && active < lower)
		*mark = 0;
	return *mark;
}

/* fill_up() - note a flow that is about to be given to a backend. */
static __always_inline void fill_up(__u32 upper, __u32 backend_id, __u64 active)
{
	__u32 *mark;

	if (!MAY_WRITE || !upper || active + 1 < upper)
		return;
	mark = bpf_map_lookup_elem(&overloads, &backend_id);
	if (mark)
		*mark = 1;
}

/*
 * source_allowed() - may this client use the service?
 *
 * The longest range that has the address decides; without one, the service is for
 * everybody unless it names who may.
 */
static __always_inline bool source_allowed(const struct service *svc, __u32 service_id,
					   const __be32 addr[4], const bool v6)
{
	struct source_key key;
	__u32 *rule;

	if (!(svc->flags & SERVICE_SOURCES))
		return true;
	key.prefix_bits = SOURCE_KEY_BITS;
	key.service = service_id;
	key.family = v6 ? 6 : 4;
	key.addr[0] = addr[0];
	key.addr[1] = addr[1];
	key.addr[2] = addr[2];
	key.addr[3] = addr[3];
	rule = bpf_map_lookup_elem(&sources, &key);
	if (rule)
		return *rule == SOURCE_ALLOW;
	return !(svc->flags & SERVICE_LISTED_ONLY);
}

#endif
