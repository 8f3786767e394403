/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Knobs. The agent writes them into .rodata before load, so the verifier prunes
 * what is switched off; after load they cannot change. Names end in their unit.
 */
#ifndef FAIRLEAD_CONFIG_H
#define FAIRLEAD_CONFIG_H

#include <linux/types.h>

#include "effect.h"

/* The network whose containers this instance serves (tc); 0: the outside, at the edge. */
INSTANCE __u32 network_id = 0;

/* Whom this instance counts for: enum hook_path; 0 is PATH_TC. */
INSTANCE __u32 packet_path = 0;

/* At the edge: this node's addresses, where tunnels begin and end; 0: none of the family. */
const volatile __be32 edge_addr4 = 0;
const volatile __be32 edge_addr6[4] = {0};

/* At the edge: source ports for snat, from the first to the last; sockets use others. */
const volatile __u32 snat_first_port = 16384;
const volatile __u32 snat_last_port = 32767;

/* At the edge: an XDP program sees every packet first and notes what is ours. */
const volatile __u8 xdp_ahead = 0;

/*
 * New DSR flows in a window on one CPU beyond which those that a hash leads get no row;
 * 0: any number gets one.
 */
const volatile __u32 stateless_above = 0;
const volatile __u32 rate_window_jiffies = 250;

/* Handshakes of new flows that are timed in one jiffy on one CPU, the first ones; 0: none. */
const volatile __u32 handshakes_a_jiffy = 4;

/* Ascending; one less than HANDSHAKE_BUCKETS. The agent has them from its metrics. */
const volatile __u64 handshake_bounds_ns[15] = {0};

/* The bridge that joins the network's containers; 0: they are routed. */
INSTANCE __u32 bridge_ifindex = 0;
const volatile __u8 bridge_mac[6] = {0};

/* The address that VIPs inside a subnet resolve to. Locally administered. */
const volatile __u8 vip_mac[6] = {0x02, 0x66, 0x6c, 0x00, 0x00, 0x01};

/* Seed of the random algorithm; the agent draws it, a test fixes it. */
const volatile __u64 random_seed = 1;

/* Flow timers. Jiffies, because a packet must not pay for a clock conversion. */
const volatile __u32 tcp_syn_timeout_jiffies = 60 * 250;
const volatile __u32 tcp_established_timeout_jiffies = 8000 * 250;
const volatile __u32 tcp_closing_timeout_jiffies = 30 * 250;
const volatile __u32 udp_timeout_jiffies = 120 * 250;

/*
 * BPF_F_IPV6 where the kernel has it, else 0. Without it bpf_l4_csum_replace
 * spoils skb->csum of a CHECKSUM_COMPLETE packet when an IPv6 address changes.
 */
const volatile __u64 csum_ipv6_flag = 0;

/* bpf_set_retval exists (5.18); without it a refused connect gives EPERM. */
const volatile __u8 has_set_retval = 1;

/*
 * Flow tables of another layout are still being copied into this instance's: a flow
 * that is not found may come in a moment, so what would be reset is dropped and sent
 * again. 2: replies too, because no program of the old layout runs before this one.
 * The agent loads the programs anew without this once all is copied.
 */
INSTANCE __u8 flows_incomplete = 0;

#endif
