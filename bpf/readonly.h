/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The other side of effect.h: the helpers that write give what they would return, and a
 * decision is noted instead. Included by effect.h alone, before any header that decides.
 */
#ifndef FAIRLEAD_READONLY_H
#define FAIRLEAD_READONLY_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define MAY_WRITE 0
#define NOTE(field, value) (explanation.field = (value))

/* One after another is asked about, so what differs between instances is a variable. */
#define INSTANCE volatile

/* How the flow of a packet is found. */
enum flow_place {
	FLOW_ABSENT,
	FLOW_KEYED,	  /* under the client's own port */
	FLOW_SUBSTITUTED, /* under another port, or as a hairpin's */
	FLOW_SNAT,	  /* translated at both ends */
};

/*
 * What a run found. Addresses and ports in the order of the wire only where their type says
 * so. Fields are 0 where a step was not reached.
 */
struct explanation {
	__u64 placed;  /* how many flows the service's cursor has placed */
	__u64 hash;    /* for sh and maglev */
	__u64 kept_ns; /* when the client last began a flow, CLOCK_MONOTONIC */
	__s32 verdict; /* the last step's */
	__u32 drop;    /* enum drop_reason */
	__u32 events;  /* 1 << enum event, of each that would be counted */
	__u32 network; /* where the address was found */
	__u32 vip;     /* 1: there is a row of it */
	__u32 vip_flags;
	__u32 named;	/* 1: there is a row of the port */
	__u32 service;	/* 0: none */
	__u32 allowed;	/* 1: the client may use it */
	__u32 chosen;	/* backend id; 0: none */
	__u32 kept;	/* backend id of the affinity's row */
	__u32 searched; /* 1: the algorithm was asked */
	__u32 slots;
	__u32 slot;	 /* where it begins to look */
	__u32 sampled;	 /* 1: two slots drawn by lot are compared */
	__u32 begins;	 /* 1: a flow would be made */
	__u32 reselects; /* 1: in place of one that has lost its backend */
	__u32 stateless; /* 1: a hash leads every packet */
	__u32 place;	 /* enum flow_place: of the flow that is there */
	__u32 occupied;	 /* 1: another flow uses the client's port */
	__u32 embryonic;
	__u32 expired;
	__u32 alive; /* 1: its backend is there */
	__u32 flow_flags;
	__u32 flow_service;
	__u32 flow_backend;
	__u32 idle_jiffies;
	__u32 timeout_jiffies;
	__be32 seen_addr[4]; /* the client as the backend sees it */
	__be32 way_addr[4];  /* edge: next hop; 0: none */
	__u32 way_result;    /* of bpf_fib_lookup(); see `routed` */
	__u32 way_ifindex;
	__u32 routed; /* 1: routing was asked */
	__be16 backend_port;
	__be16 seen_port;
	__u8 way_mac[6]; /* the next hop's, where it is known */
	__u16 pad;
};

struct explanation explanation;

/* What to explain beside a packet. */
struct question {
	__u64 netns;   /* cookie of the namespace whose socket asks */
	__u64 socket;  /* its own; no socket's: a new one */
	__u32 ifindex; /* edge: by which interface the packet comes */
	__u32 pad;
};

struct question question;

#define RO_EXIST 17 /* EEXIST */
#define RO_NOENT 2  /* ENOENT */

/* would_update() - what bpf_map_update_elem() would return, room permitting. */
static __always_inline long would_update(void *map, const void *key, __u64 flags)
{
	const void *row = bpf_map_lookup_elem(map, key);

	if (row && flags == BPF_NOEXIST)
		return -RO_EXIST;
	return !row && flags == BPF_EXIST ? -RO_NOENT : 0;
}

static __always_inline long would_delete(void *map, const void *key)
{
	return bpf_map_lookup_elem(map, key) ? 0 : -RO_NOENT;
}

/* The value stays: what a step is given is what the next one would be. */
#define read_only_add(pointer, amount)                                                             \
	({                                                                                         \
		__typeof__(*(pointer)) found = *(volatile __typeof__(*(pointer)) *)(pointer);      \
		(void)(amount);                                                                    \
		found;                                                                             \
	})

#define bpf_map_update_elem(map, key, value, flags) ((void)(value), would_update(map, key, flags))
#define bpf_map_delete_elem(map, key) would_delete(map, key)
#define bpf_ringbuf_output(...) (0)
#define bpf_ringbuf_reserve(...) (NULL)
#define bpf_ringbuf_submit(...) ((void)0)
#define __sync_fetch_and_add(pointer, amount) read_only_add(pointer, amount)
#define __sync_fetch_and_or(pointer, bits) read_only_add(pointer, bits)
#define __sync_fetch_and_and(pointer, bits) read_only_add(pointer, bits)
#define __sync_lock_test_and_set(pointer, value) read_only_add(pointer, value)

#endif
