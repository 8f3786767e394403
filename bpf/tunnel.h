/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tunnels in tc: the packet that begins a flow to a backend beyond this node, and the
 * replies of a backend here to the node by which its client came in. Where that node calls
 * the backend by an alias, it is told so again.
 */
#ifndef FAIRLEAD_TUNNEL_H
#define FAIRLEAD_TUNNEL_H

#include "count.h"
#include "encap.h"
#include "event.h"
#include "quote.h"
#include "route.h"
#include "via.h"

static __always_inline int encapsulate(struct __sk_buff *skb, const struct addr *to, const bool v6)
{
	__u32 bytes = skb->len - ETH_HLEN;
	struct addr own;

	if (!own_address(&own, v6))
		return -1;
	if (v6) {
		struct ipv6hdr ip;

		outer_ip6(&ip, &own, to, bytes);
		if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC,
					BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
			return -1;
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
	}
	struct iphdr ip;

	outer_ip4(&ip, &own, to, bytes);
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

static __always_inline int tunnel_drop(enum drop_reason reason)
{
	count_drop(reason, packet_path);
	drop_note(reason);
	return VERDICT_DROP;
}

/*
 * send_away() - the verdict on a packet for a backend that is not simply routed to, or
 * VERDICT_ROUTE: its destination says where it goes.
 *
 * Only the first packets of a flow come here, and one that is too big is not answered:
 * it has been translated. XDP answers the next.
 */
static __always_inline int send_away(struct __sk_buff *skb, const bool v6)
{
	__u32 backend_id = chosen_get(skb);
	struct bpf_fib_lookup fib = {};
	struct backend *backend;
	struct via *via;
	struct addr own;
	__u32 bytes = skb->len - ETH_HLEN;
	__u8 ttl;

	via = via_of(backend_id);
	if (!via || via->kind == VIA_SNAT)
		return VERDICT_ROUTE;
	if (skb->gso_size)
		bytes = 0;
	if (via->kind != VIA_DSR_MAC) {
		if (encapsulate(skb, (const struct addr *)via->addr, v6))
			return tunnel_drop(DROP_REWRITE);
		return VERDICT_ROUTE;
	}
	/* The stack tells the client that it went too far. */
	if (bpf_skb_load_bytes(skb, v6 ? HOP_LIMIT_OFFSET : TTL_OFFSET, &ttl, sizeof(ttl)) ||
	    ttl < LEAST_TTL)
		return VERDICT_PASS;
	backend = bpf_map_lookup_elem(&backends, &backend_id);
	own_address(&own, v6);
	if (!backend || !route_find(skb, &fib, &own, (const struct addr *)backend->addr, bytes, v6))
		return tunnel_drop(DROP_NO_ROUTE);
	if (ttl_decrement(skb, v6))
		return tunnel_drop(DROP_REWRITE);
	return route_out(&fib);
}

__noinline int send_away4(struct __sk_buff *skb)
{
	return send_away(skb, false);
}

__noinline int send_away6(struct __sk_buff *skb)
{
	return send_away(skb, true);
}

/*
 * send_reset() - the verdict on a reset, made of what came out of a tunnel, for the backend
 * that it goes back to.
 *
 * Not by encapsulate(): between nodes on one machine the kernel remembers that the packet has
 * been in a tunnel, and refuses to put it into another (6.18, EALREADY).
 */
static __always_inline int send_reset(struct __sk_buff *skb, const bool v6)
{
	const __u32 overhead = v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
	const struct via *via = via_of(chosen_get(skb));
	__u32 bytes = skb->len - ETH_HLEN;
	struct ethhdr eth;
	struct addr own;
	long error;

	chosen_set(skb, 0);
	if (!via || via->kind != VIA_ENTRY || !own_address(&own, v6) ||
	    bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) ||
	    bpf_skb_change_head(skb, overhead, 0) ||
	    bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return tunnel_drop(DROP_REWRITE);
	if (v6) {
		struct ipv6hdr ip;

		outer_ip6(&ip, &own, (const struct addr *)via->addr, bytes);
		error = bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
	} else {
		struct iphdr ip;

		outer_ip4(&ip, &own, (const struct addr *)via->addr, bytes);
		error = bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
	}
	return error ? tunnel_drop(DROP_REWRITE) : VERDICT_ROUTE;
}

__noinline int send_reset4(struct __sk_buff *skb)
{
	return send_reset(skb, false);
}

__noinline int send_reset6(struct __sk_buff *skb)
{
	return send_reset(skb, true);
}

/*
 * rename_quoted() - an error between a node that calls a backend by an alias and the one
 * where it is: its addresses, and those of the packet that it is about.
 * @side: of the quoted packet that is the backend; of the error itself it is the other one,
 *        where it is an end at all
 *
 * Returns 0 or a negative errno; then the packet is half rewritten: drop it.
 */
static __always_inline int rename_quoted(struct __sk_buff *skb, const struct packet *pkt,
					 struct quote *quote, const enum side side,
					 const struct addr *to, const bool v6)
{
	const struct addr *end = side == SIDE_SOURCE ? &quote->of.src : &quote->of.dst;

	if (side == SIDE_SOURCE) {
		if (addr_equal(pkt->dst.words, end->words, v6) &&
		    quote_set_outer(skb, pkt, quote, SIDE_DESTINATION, to, v6))
			return -1;
	} else if (addr_equal(pkt->src.words, end->words, v6) &&
		   quote_set_outer(skb, pkt, quote, SIDE_SOURCE, to, v6)) {
		return -1;
	}
	if (quote_set_addr(skb, quote, side, to, v6))
		return -1;
	return quote_finish(skb, pkt, quote, v6);
}

/*
 * What a fragment is part of, in one word, because global functions take no more: the ports
 * of its datagram in the lower half, above it the protocol and this flag.
 */
#define PIECE_FIRST (1ULL << 40)

static __always_inline __u64 piece_of(const struct packet *pkt, bool first)
{
	return (__u32)pkt->sport << 16 | pkt->dport | (__u64)pkt->protocol << 32 |
	       (first ? PIECE_FIRST : 0);
}

/* piece_take() - give a fragment what is known of it. */
static __always_inline void piece_take(struct packet *pkt, __u64 piece)
{
	pkt->sport = piece >> 16;
	pkt->dport = piece;
	pkt->protocol = piece >> 32;
}

/*
 * send_home() - the verdict on a reply to a client that came in by another node, or on an
 * error about what that client sent; VERDICT_PASS when it is none, VERDICT_TOO_BIG when it
 * does not fit the tunnel, VERDICT_FRAGMENT when @piece has to be found out first.
 * @piece: of a fragment; else 0
 */
static __always_inline int send_home(struct __sk_buff *skb, __u64 piece, const bool v6)
{
	const __u32 overhead = v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
	struct bpf_fib_lookup fib = {};
	struct entry_key key;
	struct entry *entry;
	struct packet pkt;
	struct quote quote = {}; /* 6.1 forgets which kinds of packets have filled it */
	struct addr node;
	struct addr own;
	long result;
	__be32 id;

	parse_first(skb, &pkt, &id, v6);
	if (pkt.kind == PACKET_FRAGMENT || pkt.fragment) {
		if (!piece)
			return VERDICT_FRAGMENT;
		piece_take(&pkt, piece);
	}
	if (pkt.kind == PACKET_FLOW || pkt.kind == PACKET_FRAGMENT)
		entry_key_set(&key, &pkt.dst, pkt.dport, &pkt.src, pkt.sport, pkt.protocol);
	else if (is_icmp(&pkt, v6) && quote_read(skb, &pkt, &quote, v6))
		entry_key_set(&key, &quote.of.src, quote.of.sport, &quote.of.dst, quote.of.dport,
			      quote.of.protocol);
	else
		return VERDICT_PASS;
	entry = bpf_map_lookup_elem(&entries, &key);
	if (!entry)
		return VERDICT_PASS;
	addr_copy(node.words, entry->node);
	if (!own_address(&own, v6))
		return tunnel_drop(DROP_NO_ROUTE);
	/* A packet of several segments: their size is reduced by what the header takes. */
	result = route_lookup(skb, skb->ifindex, &fib, &own, &node,
			      skb->gso_size ? 0 : skb->len - ETH_HLEN + overhead, v6);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		if (piece && !(piece & PIECE_FIRST))
			return tunnel_drop(DROP_TOO_BIG);
		chosen_set(skb, fib.mtu_result - overhead);
		return VERDICT_TOO_BIG;
	}
	if (!is_way(result))
		return tunnel_drop(DROP_NO_ROUTE);
	if (has_alias(entry)) {
		const struct addr *alias = (const void *)entry->alias;

		long error;

		if (pkt.kind == PACKET_FLOW)
			error = nat(skb, &pkt, SIDE_SOURCE, alias, pkt.sport, pkt.dport, v6);
		else if (pkt.kind == PACKET_FRAGMENT)
			error = fragment_readdress(skb, &pkt, SIDE_SOURCE, alias, v6);
		else
			error = rename_quoted(skb, &pkt, &quote, SIDE_DESTINATION, alias, v6);
		if (error)
			return tunnel_drop(DROP_REWRITE);
	}
	if (encapsulate(skb, &node, v6))
		return tunnel_drop(DROP_REWRITE);
	return route_out(&fib);
}

__noinline int send_home4(struct __sk_buff *skb, __u64 piece)
{
	return send_home(skb, piece, false);
}

__noinline int send_home6(struct __sk_buff *skb, __u64 piece)
{
	return send_home(skb, piece, true);
}

/*
 * come_home() - the verdict on what came out of a tunnel and is no reply of a flow of this
 * node: an error, or a fragment, for a container here.
 *
 * What is for an alias and cannot be told whose it is must not be routed: the address means
 * nothing here.
 */
static __always_inline int come_home(struct __sk_buff *skb, const bool v6)
{
	const struct addr *here;
	struct packet pkt;
	struct quote quote;
	__be32 id;

	parse_first(skb, &pkt, &id, v6);
	if (pkt.kind == PACKET_UNREADABLE || pkt.kind == PACKET_MALFORMED)
		return tunnel_drop(DROP_MALFORMED);
	here = alias_of(&pkt.dst);
	if (!here)
		return VERDICT_ROUTE;
	if (pkt.kind == PACKET_FLOW)
		return nat(skb, &pkt, SIDE_DESTINATION, here, pkt.sport, pkt.dport, v6) == DROP_NONE
			       ? VERDICT_ROUTE
			       : tunnel_drop(DROP_REWRITE);
	if (pkt.kind == PACKET_FRAGMENT)
		return fragment_readdress(skb, &pkt, SIDE_DESTINATION, here, v6)
			       ? tunnel_drop(DROP_REWRITE)
			       : VERDICT_ROUTE;
	if (!is_icmp(&pkt, v6) || !quote_read(skb, &pkt, &quote, v6))
		return tunnel_drop(DROP_PROTOCOL);
	return rename_quoted(skb, &pkt, &quote, SIDE_SOURCE, here, v6) ? tunnel_drop(DROP_REWRITE)
								       : VERDICT_ROUTE;
}

__noinline int come_home4(struct __sk_buff *skb)
{
	return come_home(skb, false);
}

__noinline int come_home6(struct __sk_buff *skb)
{
	return come_home(skb, true);
}

#endif
