/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows that can do without a row: the backend answers the client itself, and a hash of
 * the packet names the backend every time. Under a flood the table is left to others.
 */
#ifndef FAIRLEAD_STATELESS_H
#define FAIRLEAD_STATELESS_H

#include "config.h"
#include "maps.h"
#include "via.h"

struct flow_rate {
	__u32 since; /* jiffies; when the window began */
	__u32 flows; /* that began in it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_rate);
} flow_rates SEC(".maps");

/* hash_leads() - does the service choose the same backend for every packet of a flow? */
static __always_inline bool hash_leads(const struct service *svc)
{
	return !network_id && !svc->affinity_seconds && !svc->upper &&
	       (svc->algorithm == ALGORITHM_SH || svc->algorithm == ALGORITHM_MAGLEV);
}

/* rate_exceeded() - count one more flow; are there too many of them just now? */
static __always_inline bool rate_exceeded(__u32 now)
{
	const __u32 only = 0;
	struct flow_rate *rate;

	if (!stateless_above)
		return false;
	rate = bpf_map_lookup_elem(&flow_rates, &only);
	if (!rate)
		return false;
	if (!MAY_WRITE)
		return rate->flows >= stateless_above && now - rate->since < rate_window_jiffies;
	if (now - rate->since >= rate_window_jiffies) {
		rate->since = now;
		rate->flows = 0;
	}
	rate->flows++;
	return rate->flows > stateless_above;
}

#endif
