/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The node's edge in tc: behind the XDP program of a NIC, where new flows are admitted
 * and packets routed, and where replies get the address back that the client dialled.
 * Network 0 is the outside: its VIPs are what can be reached from there.
 */
#ifndef FAIRLEAD_NIC_H
#define FAIRLEAD_NIC_H

#include "edge.h"
#include "flow.h"
#include "route.h"
#include "select.h"
#include "tunnel.h"

/* note_of() - what XDP said of the packet: enum edge_step, or 0. */
static __always_inline __u32 note_of(struct __sk_buff *skb)
{
	const struct edge_note *note = (const void *)(long)skb->data_meta;

	if ((const void *)(note + 1) > (const void *)(long)skb->data || note->magic != EDGE_MAGIC)
		return 0;
	return note->step;
}

/* is_neighbour_message() - of IPv6: cheap, and seldom true. */
static __always_inline bool is_neighbour_message(struct __sk_buff *skb)
{
	__u8 protocol;

	return !bpf_skb_load_bytes(skb, ETH_HLEN + 6, &protocol, sizeof(protocol)) &&
	       protocol == IPPROTO_ICMPV6;
}

/* answers_outside() - is it a backend's packet of this row's flow? */
static __always_inline bool answers_outside(const struct flow *row, const struct packet *pkt,
					    const bool v6)
{
	struct backend *backend = backend_alive(row->backend, row->service, row->incarnation);

	return backend && row->backend_port == pkt->sport &&
	       addr_equal(backend->addr, pkt->src.words, v6);
}

/*
 * find_way_out() - may a container's packet leave at once, and where?
 * @piece: of a fragment; else 0
 *
 * Too big a packet and a last hop are for the stack: it tells the backend, which knows
 * the untranslated packet.
 */
static __always_inline bool find_way_out(struct __sk_buff *skb, struct bpf_fib_lookup *fib,
					 __u64 piece, const bool v6)
{
	union flow_key key;
	struct packet pkt;
	struct flow *row;
	bool embryonic;
	__u8 ttl;

	parse(skb, &pkt, v6);
	if (pkt.kind == PACKET_FRAGMENT && piece)
		piece_take(&pkt, piece);
	else if (pkt.kind != PACKET_FLOW)
		return false;
	flow_key_set(&key, &pkt.dst, pkt.dport, pkt.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !answers_outside(row, &pkt, v6))
		return false;
	if (bpf_skb_load_bytes(skb, v6 ? HOP_LIMIT_OFFSET : TTL_OFFSET, &ttl, sizeof(ttl)) ||
	    ttl < LEAST_TTL)
		return false;
	return route_find(skb, fib, &pkt.src, &pkt.dst, route_bytes(skb, &pkt), v6);
}

#endif
