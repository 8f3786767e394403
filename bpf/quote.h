/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet that an ICMP error quotes (RFC 792, RFC 4443 3), read and rewritten in
 * place with every checksum that covers it: its own IP header's, that of its TCP or UDP
 * as far as it is quoted, the error's, and the outer IP header's. Knows no flows.
 *
 * Eight bytes behind the quoted IP header are enough (RFC 792). What the error's sender
 * left wrong stays as wrong as it was: all sums are updated by differences (RFC 1624).
 */
#ifndef FAIRLEAD_QUOTE_H
#define FAIRLEAD_QUOTE_H

#include "csum.h"
#include "nat.h"
#include "parse.h"

#define QUOTED_L4_BYTES 8
#define ICMP_CHECK_OFFSET 2

struct quote {
	struct packet of; /* addresses, ports and protocol of the quoted packet */
	__u32 ip_offset;  /* of its IP header, from the outer Ethernet header */
	__u32 outer;	  /* sums of changes: in the outer IP header, */
	__u32 ip;	  /* in the quoted IP header, */
	__u32 l4;	  /* in what the quoted TCP or UDP checksum covers, */
	__u32 icmp;	  /* and in what the error's own covers */
};

static __always_inline bool is_icmp(const struct packet *pkt, const bool v6)
{
	return pkt->kind == PACKET_OTHER && pkt->protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* is_icmp_error() - one that a path or a host sends about a packet; no redirect. */
static __always_inline bool is_icmp_error(struct __sk_buff *skb, const struct packet *pkt,
					  const bool v6)
{
	__u8 type;

	if (!is_icmp(pkt, v6) || bpf_skb_load_bytes(skb, pkt->l4_offset, &type, sizeof(type)))
		return false;
	if (v6)
		return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER_PROBLEM;
	return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED ||
	       type == ICMP4_PARAMETER_PROBLEM;
}

static __always_inline bool quote_ip4(struct __sk_buff *skb, struct quote *quote)
{
	struct packet *of = &quote->of;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, quote->ip_offset, &ip, sizeof(ip)) || ip.version != 4 ||
	    ip.ihl * 4 < IP4_BASE_BYTES || (ip.frag_off & bpf_htons(IP4_OFFSET_MASK)))
		return false;
	addr_set4(&of->src, ip.saddr);
	addr_set4(&of->dst, ip.daddr);
	of->protocol = ip.protocol;
	of->l4_offset = quote->ip_offset + ip.ihl * 4;
	return true;
}

/* quote_ip6() - of extension headers only that of a first fragment. */
static __always_inline bool quote_ip6(struct __sk_buff *skb, struct quote *quote)
{
	struct packet *of = &quote->of;
	struct ipv6hdr ip;
	__be16 fragment[4];

	if (bpf_skb_load_bytes(skb, quote->ip_offset, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	addr_copy(of->src.words, ip.saddr.in6_u.u6_addr32);
	addr_copy(of->dst.words, ip.daddr.in6_u.u6_addr32);
	of->protocol = ip.nexthdr;
	of->l4_offset = quote->ip_offset + IP6_BASE_BYTES;
	if (of->protocol != IPPROTO_FRAGMENT)
		return true;
	if (bpf_skb_load_bytes(skb, of->l4_offset, fragment, sizeof(fragment)) ||
	    (fragment[1] & bpf_htons(IP6_OFFSET_MASK)))
		return false;
	of->protocol = bpf_ntohs(fragment[0]) >> 8;
	of->l4_offset += sizeof(fragment);
	return true;
}

/*
 * quote_read() - what an ICMP message quotes.
 * @pkt: the message, as parsed
 *
 * Returns false when it is no error, or not about TCP or UDP, or its ports are missing.
 */
static __always_inline bool quote_read(struct __sk_buff *skb, const struct packet *pkt,
				       struct quote *quote, const bool v6)
{
	__be16 l4[QUOTED_L4_BYTES / 2];

	__builtin_memset(quote, 0, sizeof(*quote));
	quote->ip_offset = pkt->l4_offset + ICMP_BYTES;
	if (!is_icmp_error(skb, pkt, v6) || !(v6 ? quote_ip6(skb, quote) : quote_ip4(skb, quote)) ||
	    (quote->of.protocol != IPPROTO_TCP && quote->of.protocol != IPPROTO_UDP) ||
	    bpf_skb_load_bytes(skb, quote->of.l4_offset, l4, sizeof(l4)))
		return false;
	quote->of.sport = l4[0];
	quote->of.dport = l4[1];
	return true;
}

static __always_inline void quote_changes(__u32 *sum, __u64 change)
{
	*sum = csum_fold32((__u64)*sum + change);
}

static __always_inline int quote_store(struct __sk_buff *skb, __u32 offset, const void *from,
				       __u32 bytes)
{
	return bpf_skb_store_bytes(skb, offset, from, bytes, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int quote_store_addr(struct __sk_buff *skb, __u32 ip_offset,
					    const enum side side, const struct addr *to,
					    const bool v6)
{
	if (v6)
		return quote_store(skb, ip_offset + (side == SIDE_SOURCE ? 8 : 24), to,
				   sizeof(*to));
	return quote_store(skb, ip_offset + (side == SIDE_SOURCE ? 12 : 16), &to->words[3],
			   sizeof(to->words[3]));
}

/* quote_set_addr() - an address of the quoted packet. Returns 0 or a negative errno. */
static __always_inline int quote_set_addr(struct __sk_buff *skb, struct quote *quote,
					  const enum side side, const struct addr *to,
					  const bool v6)
{
	const struct addr *from = side == SIDE_SOURCE ? &quote->of.src : &quote->of.dst;
	__u32 change = csum_addr_change(from, to, v6);

	quote_changes(&quote->ip, change);
	quote_changes(&quote->l4, change);
	quote_changes(&quote->icmp, change);
	return quote_store_addr(skb, quote->ip_offset, side, to, v6);
}

/* quote_set_ports() - of the quoted packet. Returns 0 or a negative errno. */
static __always_inline int quote_set_ports(struct __sk_buff *skb, struct quote *quote, __be16 sport,
					   __be16 dport)
{
	__u64 change = (__u64)(__u16)~quote->of.sport + sport + (__u16)~quote->of.dport + dport;
	__be16 ports[2] = {sport, dport};

	quote_changes(&quote->l4, change);
	quote_changes(&quote->icmp, change);
	return quote_store(skb, quote->of.l4_offset, ports, sizeof(ports));
}

/* quote_set_outer() - an address of the error itself. Returns 0 or a negative errno. */
static __always_inline int quote_set_outer(struct __sk_buff *skb, const struct packet *pkt,
					   struct quote *quote, const enum side side,
					   const struct addr *to, const bool v6)
{
	__u32 change = csum_addr_change(side == SIDE_SOURCE ? &pkt->src : &pkt->dst, to, v6);

	/* The checksum of ICMPv6 covers the addresses, that of ICMP does not. */
	quote_changes(v6 ? &quote->icmp : &quote->outer, change);
	return quote_store_addr(skb, ETH_HLEN, side, to, v6);
}

/*
 * quote_update() - one checksum field.
 * @change: what to add to the sum of what it covers
 * @icmp:   grows by what this field changes by, where the field is itself summed; or NULL
 * @udp:    0 means that there is none, and a result of 0 is written as 0xffff
 */
static __always_inline int quote_update(struct __sk_buff *skb, __u32 offset, __u32 change,
					__u32 *icmp, const bool udp)
{
	__u16 was, now;

	if (bpf_skb_load_bytes(skb, offset, &was, sizeof(was)))
		return -1;
	if (udp && !was)
		return 0;
	now = ~csum_fold16((__u64)(__u16)~was + change);
	if (udp && !now)
		now = 0xffff;
	if (icmp)
		quote_changes(icmp, (__u64)(__u16)~was + now);
	return quote_store(skb, offset, &now, sizeof(now));
}

/* quote_finish() - all checksums, after all changes. Returns 0 or a negative errno. */
static __always_inline int quote_finish(struct __sk_buff *skb, const struct packet *pkt,
					struct quote *quote, const bool v6)
{
	const bool udp = quote->of.protocol == IPPROTO_UDP;
	__u32 check = quote->of.l4_offset + (udp ? UDP_CHECK_OFFSET : TCP_CHECK_OFFSET);

	if (!v6 && (quote_update(skb, quote->ip_offset + 10, quote->ip, &quote->icmp, false) ||
		    quote_update(skb, ETH_HLEN + 10, quote->outer, NULL, false)))
		return -1;
	if (check + 2 <= ETH_HLEN + ip_bytes(skb, v6) &&
	    quote_update(skb, check, quote->l4, &quote->icmp, udp))
		return -1;
	return quote_update(skb, pkt->l4_offset + ICMP_CHECK_OFFSET, quote->icmp, NULL, false);
}

#endif
