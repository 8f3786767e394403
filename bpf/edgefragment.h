/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments at the node's edge: those of a reply that leaves a network, and those that a
 * tunnel has to take. Translates nothing; see fragment.h for that.
 */
#ifndef FAIRLEAD_EDGEFRAGMENT_H
#define FAIRLEAD_EDGEFRAGMENT_H

#include "fragment.h"
#include "nic.h"
#include "tunnel.h"

/* reply_known() - is it of a flow that came in by this node, or by another one's tunnel? */
static __always_inline bool reply_known(const struct packet *pkt, const bool v6)
{
	struct entry_key brought;
	union flow_key key;
	struct flow *row;
	bool embryonic;

	flow_key_set(&key, &pkt->dst, pkt->dport, pkt->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (row && answers_outside(row, pkt, v6))
		return true;
	entry_key_set(&brought, &pkt->dst, pkt->dport, &pkt->src, pkt->sport, pkt->protocol);
	return bpf_map_lookup_elem(&entries, &brought);
}

/*
 * reply_piece() - what a fragment that leaves a network is part of: piece_of() it, or 0 if that
 * is no reply of ours. Containers send others, which are not remembered.
 */
static __always_inline __u64 reply_piece(struct __sk_buff *skb, const bool v6)
{
	struct packet pkt;
	__be32 id;
	bool first;

	parse_first(skb, &pkt, &id, v6);
	first = pkt.kind == PACKET_FLOW;
	if (first ? !reply_known(&pkt, v6)
		  : pkt.kind != PACKET_FRAGMENT || !fragment_recall(&pkt, id))
		return 0;
	if (first)
		fragment_remember(&pkt, id);
	return piece_of(&pkt, first);
}

__noinline __u64 reply_piece4(struct __sk_buff *skb)
{
	return reply_piece(skb, false);
}

__noinline __u64 reply_piece6(struct __sk_buff *skb)
{
	return reply_piece(skb, true);
}

/*
 * is_rejoined() - did netfilter make one packet of a reply's fragments, and may the stack, which
 * takes it apart again, have it translated?
 *
 * A bridge does that where connections are tracked, as engines want. It is more than the bridge
 * takes, which nothing else is that came by it. Untranslated it would be masked like what
 * the container begins by itself. With an address of this node it would be a martian.
 */
static __always_inline bool is_rejoined(struct __sk_buff *skb, const bool v6)
{
	struct addr buffer;
	union flow_key key;
	struct packet pkt;
	struct flow *row;
	struct vip *vip;
	bool embryonic;
	__u32 mtu = 0;

	if (skb->gso_size || bpf_check_mtu(skb, 0, &mtu, 0, 0) != BPF_MTU_CHK_RET_FRAG_NEEDED)
		return false;
	parse(skb, &pkt, v6);
	if (pkt.kind != PACKET_FLOW)
		return false;
	flow_key_set(&key, &pkt.dst, pkt.dport, pkt.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !answers_outside(row, &pkt, v6))
		return false;
	vip = vip_lookup(network_id, flow_vip(row, &buffer, v6), v6);
	return vip && !(vip->flags & VIP_NODE);
}

__noinline int is_rejoined4(struct __sk_buff *skb)
{
	return is_rejoined(skb, false);
}

__noinline int is_rejoined6(struct __sk_buff *skb)
{
	return is_rejoined(skb, true);
}

/*
 * fit() - VERDICT_TOO_BIG for a fragment that its tunnel cannot take, else VERDICT_FRAGMENT.
 *
 * Asked before it is translated: its sender knows it by what it dialled. Of a datagram
 * that begins a flow this cannot be told yet; the next one's first fragment is answered. A
 * router is silent about later fragments (RFC 1122 3.2.2), and so are we.
 */
static __always_inline int fit(struct __sk_buff *skb, const bool v6)
{
	struct bpf_fib_lookup fib = {};
	union flow_key key;
	struct packet pkt;
	struct flow *row;
	struct addr own;
	struct via *via;
	bool embryonic;
	__be32 id;

	parse_first(skb, &pkt, &id, v6);
	if (pkt.kind != PACKET_FLOW)
		return VERDICT_FRAGMENT;
	flow_key_set(&key, &pkt.src, pkt.sport, pkt.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !flow_of(row, &pkt, v6))
		return VERDICT_FRAGMENT;
	via = via_of(row->backend);
	if (!via || (via->kind != VIA_ENTRY && via->kind != VIA_DSR_TUNNEL) ||
	    !own_address(&own, v6))
		return VERDICT_FRAGMENT;
	if (route_lookup(skb, skb->ifindex, &fib, &own, (const struct addr *)via->addr,
			 skb->len - ETH_HLEN + via_overhead(via, v6),
			 v6) != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return VERDICT_FRAGMENT;
	chosen_set(skb, fib.mtu_result - via_overhead(via, v6));
	return VERDICT_TOO_BIG;
}

__noinline int fit4(struct __sk_buff *skb)
{
	return fit(skb, false);
}

__noinline int fit6(struct __sk_buff *skb)
{
	return fit(skb, true);
}

#endif
