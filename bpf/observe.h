/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is noted of some flows beside their rows: when they began, and what they carried.
 * A flow without a ticket pays for none of it.
 */
#ifndef FAIRLEAD_OBSERVE_H
#define FAIRLEAD_OBSERVE_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "count.h"
#include "maps.h"

/* observation_of() - what a ticket is for; NULL: it has become another flow's. */
static __always_inline struct observation *observation_of(__u32 ticket)
{
	__u32 index = ticket & (OBSERVATIONS - 1);
	struct observation *row = bpf_map_lookup_elem(&observations, &index);

	return row && ticket && row->ticket == ticket ? row : NULL;
}

/* observation_begin() - a ticket; 0: none is to be had. */
static __always_inline __u32 observation_begin(__u64 now_ns)
{
	struct observation *row;
	const __u32 only = 0;
	__u32 ticket, index;
	__u32 *last;

	last = bpf_map_lookup_elem(&tickets, &only);
	if (!last)
		return 0;
	ticket = __sync_fetch_and_add(last, 1) + 1;
	index = ticket & (OBSERVATIONS - 1);
	row = bpf_map_lookup_elem(&observations, &index);
	if (!row)
		return 0;
	__builtin_memset(row, 0, sizeof(*row));
	row->begun_ns = now_ns;
	row->ticket = ticket;
	return ticket;
}

/* observe_traffic() - of a flow with FLOW_WATCHED. */
static __always_inline void observe_traffic(__u32 ticket, const enum dir dir, __u64 packets,
					    __u64 bytes)
{
	struct observation *row = observation_of(ticket);

	if (!row)
		return;
	__sync_fetch_and_add(dir == DIR_IN ? &row->packets_in : &row->packets_out, packets);
	__sync_fetch_and_add(dir == DIR_IN ? &row->bytes_in : &row->bytes_out, bytes);
}

#endif
