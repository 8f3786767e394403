/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a router on the way of a tunnel says of a packet that was too big for it. The
 * sender of that packet is not this node but who sent what is inside, and this node would
 * not learn from it either: there is no tunnel device. So the tunnel's header is taken out
 * of the quote, and the error goes on to where it helps (RFC 2003 4.1, RFC 2473 8).
 */
#ifndef FAIRLEAD_TUNNELERROR_H
#define FAIRLEAD_TUNNELERROR_H

#include "edge.h"
#include "flow.h"
#include "quote.h"
#include "refuse.h"
#include "via.h"

/* What an error about a tunnelled packet begins with, behind its own IP header. */
struct tunnel_quote4 {
	struct icmp_head icmp;
	struct iphdr outer;
	struct iphdr inner;
	__be16 ports[4];
};

struct tunnel_quote6 {
	struct icmp_head icmp;
	struct ipv6hdr outer;
	struct ipv6hdr inner;
	__be16 ports[4];
};

/* is_known() - of a flow of this node, or one that another node brought here. */
static __always_inline bool is_known(const struct addr *src, __be16 sport, const struct addr *dst,
				     __be16 dport, __u8 protocol, const bool v6)
{
	struct entry_key brought;
	const struct addr *here;
	union flow_key key;
	bool embryonic;

	flow_key_set(&key, src, sport, protocol, v6);
	if (flow_find(&key, &embryonic, v6))
		return true;
	here = alias_of(src);
	entry_key_set(&brought, dst, dport, here ? here : src, sport, protocol);
	return bpf_map_lookup_elem(&entries, &brought);
}

/*
 * shorten() - take the tunnel's header out of the quote and address the error anew.
 * @of:     src is who is to be told, dst this node
 * @router: whom the error is from
 * @head:   of the error, with the new MTU; its checksum and @sum, the sum of all that is
 *          taken away and of the complement of what comes, give the new one
 *
 * Returns 0 or a negative errno; then drop the packet.
 */
static __always_inline int shorten(struct __sk_buff *skb, const struct offender *of,
				   struct icmp_head *head, __u64 sum, const bool v6)
{
	const __u32 overhead = v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
	__u32 payload = skb->len - ETH_HLEN - 2 * overhead;

	head->check = ~csum_fold16((__u64)(__u16)~head->check + sum);
	if (bpf_skb_adjust_room(skb, -(int)overhead, BPF_ADJ_ROOM_NET, 0) ||
	    store_ip(skb, of, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, payload, v6))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + overhead, head, sizeof(*head), 0);
}

/* minus() - what to add to a sum in order to take words away from it. */
static __always_inline __u64 minus(__u64 sum)
{
	return (__u32)~csum_fold32(sum);
}

/*
 * tunnel_error() - make an error about a tunnel one about what was in it.
 *
 * Returns EDGE_REPLY when that is done, EDGE_DECIDE when it is about no tunnel of a known
 * flow and stays as it came, or 0 when it is spoiled.
 */
static __always_inline __u32 tunnel_error_ip4(struct __sk_buff *skb)
{
	struct tunnel_quote4 quote;
	struct offender of;
	struct addr inner_dst;
	__u32 mtu;
	__u64 sum;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + IP4_BASE_BYTES, &quote, sizeof(quote)) ||
	    offender_read(skb, &of, 0, false))
		return EDGE_DECIDE;
	mtu = bpf_ntohl(quote.icmp.rest) & 0xffff;
	if (quote.icmp.type != ICMP4_UNREACHABLE || quote.icmp.code != ICMP4_FRAGMENTATION_NEEDED ||
	    quote.outer.version != 4 || quote.outer.ihl != IP4_BASE_BYTES / 4 ||
	    quote.outer.protocol != IPPROTO_IPIP || quote.outer.saddr != of.dst.words[3] ||
	    quote.inner.version != 4 || quote.inner.ihl != IP4_BASE_BYTES / 4 ||
	    mtu <= IP4_BASE_BYTES)
		return EDGE_DECIDE;
	addr_set4(&of.src, quote.inner.saddr);
	addr_set4(&inner_dst, quote.inner.daddr);
	if (!is_known(&of.src, quote.ports[0], &inner_dst, quote.ports[1], quote.inner.protocol,
		      false))
		return EDGE_DECIDE;
	sum = minus(csum_words(&quote.outer, sizeof(quote.outer))) + minus(quote.icmp.rest);
	quote.icmp.rest = bpf_htonl(mtu - IP4_BASE_BYTES);
	sum += quote.icmp.rest;
	return shorten(skb, &of, &quote.icmp, sum, false) ? 0 : EDGE_REPLY;
}

static __always_inline __u32 tunnel_error_ip6(struct __sk_buff *skb)
{
	struct tunnel_quote6 quote;
	struct offender of;
	struct addr to, inner_dst;
	__u32 bytes;
	__u64 sum;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + IP6_BASE_BYTES, &quote, sizeof(quote)) ||
	    offender_read(skb, &of, 0, true))
		return EDGE_DECIDE;
	if (quote.icmp.type != ICMP6_TOO_BIG || quote.outer.version != 6 ||
	    quote.outer.nexthdr != IPPROTO_IPV6 || quote.inner.version != 6 ||
	    bpf_ntohl(quote.icmp.rest) <= IP6_BASE_BYTES ||
	    !addr_equal(quote.outer.saddr.in6_u.u6_addr32, of.dst.words, true))
		return EDGE_DECIDE;
	addr_copy(to.words, quote.inner.saddr.in6_u.u6_addr32);
	addr_copy(inner_dst.words, quote.inner.daddr.in6_u.u6_addr32);
	if (!is_known(&to, quote.ports[0], &inner_dst, quote.ports[1], quote.inner.nexthdr, true))
		return EDGE_DECIDE;
	/* The checksum covers a pseudo-header too: from the router to this node, and then from
	 * this node to the sender. */
	bytes = skb->len - ETH_HLEN - IP6_BASE_BYTES;
	sum = minus(csum_words(&quote.outer, sizeof(quote.outer))) + minus(quote.icmp.rest) +
	      csum_addr_change(&of.src, &to, true) + minus(bpf_htonl(bytes)) +
	      bpf_htonl(bytes - IP6_BASE_BYTES);
	quote.icmp.rest = bpf_htonl(bpf_ntohl(quote.icmp.rest) - IP6_BASE_BYTES);
	sum += quote.icmp.rest;
	of.src = to;
	return shorten(skb, &of, &quote.icmp, sum, true) ? 0 : EDGE_REPLY;
}

__noinline int tunnel_error4(struct __sk_buff *skb)
{
	return tunnel_error_ip4(skb);
}

__noinline int tunnel_error6(struct __sk_buff *skb)
{
	return tunnel_error_ip6(skb);
}

#endif
