/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parsing: from a frame to its tuple. Changes nothing and decides nothing.
 * IPv4: RFC 791; IPv6 and its extension headers: RFC 8200.
 */
#ifndef FAIRLEAD_PARSE_H
#define FAIRLEAD_PARSE_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "net.h"

#define MAX_EXTENSION_HEADERS 4
#define MAX_HEADERS_BYTES 0x3fff /* more than extension headers can take */

enum packet_kind {
	PACKET_FLOW,	   /* TCP or UDP with its ports */
	PACKET_OTHER,	   /* another protocol, named by `protocol` */
	PACKET_FRAGMENT,   /* of anything; has no ports that could be trusted */
	PACKET_MALFORMED,  /* the addresses are there, the rest is not */
	PACKET_UNREADABLE, /* not even the addresses */
	PACKET_LAST_HOP,   /* in XDP alone: as PACKET_FLOW, but no router may send it on */
};

struct packet {
	struct addr src;
	struct addr dst;
	__u32 l4_offset; /* from the Ethernet header */
	__be16 sport;
	__be16 dport;
	__u16 ip_check; /* IPv4 header checksum, as read */
	__u8 protocol;
	__u8 tcp_flags; /* 0 for UDP */
	__u8 l4_bytes;	/* length of the TCP or UDP header */
	__u8 kind;	/* enum packet_kind */
	__u8 fragment;	/* 1: the first of several; see parse_first() */
};

/*
 * slice() - a part of the frame, to be read only.
 * @buffer: of @len bytes, used when that part is not in the linear area
 *
 * Reading in place needs no helper call; pulling instead would copy payload.
 * Returns NULL when the frame ends before.
 */
static __always_inline const void *slice(struct __sk_buff *skb, __u32 offset, __u32 len,
					 void *buffer)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;

	/* The verifier forgets the bounds of an offset that clang 19 spills to an odd word. */
	if (offset > MAX_HEADERS_BYTES)
		return NULL;
	if (data + offset + len <= end)
		return data + offset;
	return bpf_skb_load_bytes(skb, offset, buffer, len) ? NULL : buffer;
}

static __always_inline bool starts_tcp(const struct packet *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* starts_flow() - may make a flow, as opposed to only continuing one. */
static __always_inline bool starts_flow(const struct packet *pkt)
{
	return pkt->protocol == IPPROTO_UDP || starts_tcp(pkt);
}

static __always_inline enum packet_kind parse_tcp(struct __sk_buff *skb, struct packet *pkt)
{
	struct tcphdr buffer;
	const struct tcphdr *tcp = slice(skb, pkt->l4_offset, sizeof(buffer), &buffer);

	if (!tcp)
		return PACKET_MALFORMED;
	pkt->sport = tcp->source;
	pkt->dport = tcp->dest;
	pkt->tcp_flags = ((const __u8 *)tcp)[13];
	pkt->l4_bytes = tcp->doff * 4;
	return pkt->l4_bytes < TCP_BASE_BYTES ? PACKET_MALFORMED : PACKET_FLOW;
}

static __always_inline enum packet_kind parse_udp(struct __sk_buff *skb, struct packet *pkt)
{
	struct udphdr buffer;
	const struct udphdr *udp = slice(skb, pkt->l4_offset, sizeof(buffer), &buffer);

	if (!udp)
		return PACKET_MALFORMED;
	pkt->sport = udp->source;
	pkt->dport = udp->dest;
	pkt->tcp_flags = 0;
	pkt->l4_bytes = UDP_BYTES;
	return PACKET_FLOW;
}

static __always_inline enum packet_kind parse_l4(struct __sk_buff *skb, struct packet *pkt)
{
	if (pkt->protocol == IPPROTO_TCP)
		return parse_tcp(skb, pkt);
	if (pkt->protocol == IPPROTO_UDP)
		return parse_udp(skb, pkt);
	return PACKET_OTHER;
}

/* parse_ip4() - PACKET_FLOW: parse_l4() is to decide, when this one's stack is free again. */
static __always_inline enum packet_kind parse_ip4(struct __sk_buff *skb, struct packet *pkt)
{
	struct iphdr buffer;
	const struct iphdr *ip = slice(skb, ETH_HLEN, sizeof(buffer), &buffer);
	__u32 ip_bytes;

	if (!ip)
		return PACKET_UNREADABLE;
	addr_set4(&pkt->src, ip->saddr);
	addr_set4(&pkt->dst, ip->daddr);
	pkt->protocol = ip->protocol;
	pkt->ip_check = ip->check;
	ip_bytes = ip->ihl * 4;
	pkt->l4_offset = ETH_HLEN + ip_bytes;
	if (ip->version != 4 || ip_bytes < IP4_BASE_BYTES)
		return PACKET_MALFORMED;
	if (ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return PACKET_FRAGMENT;
	return PACKET_FLOW;
}

/* skip_extensions() - leave the upper protocol and its offset in @pkt. */
static __always_inline enum packet_kind skip_extensions(struct __sk_buff *skb, struct packet *pkt)
{
	__u8 extension[2]; /* next header, length in units of 8 beyond the first */
	int i;

	/* clang 19 lays this loop out so that it falls through backwards, which kernel 6.1
	 * takes for an endless one ("back-edge"): unrolled there is none. */
#pragma unroll
	for (i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		if (pkt->protocol == IPPROTO_FRAGMENT)
			return PACKET_FRAGMENT;
		if (pkt->protocol != IPPROTO_HOPOPTS && pkt->protocol != IPPROTO_ROUTING &&
		    pkt->protocol != IPPROTO_DSTOPTS)
			return PACKET_OTHER;
		if (i == MAX_EXTENSION_HEADERS ||
		    bpf_skb_load_bytes(skb, pkt->l4_offset, extension, sizeof(extension)))
			break;
		pkt->protocol = extension[0];
		pkt->l4_offset += (extension[1] + 1) * 8;
	}
	return PACKET_MALFORMED;
}

static __always_inline enum packet_kind parse_ip6(struct __sk_buff *skb, struct packet *pkt)
{
	struct ipv6hdr buffer;
	const struct ipv6hdr *ip = slice(skb, ETH_HLEN, sizeof(buffer), &buffer);
	enum packet_kind kind;

	if (!ip)
		return PACKET_UNREADABLE;
	addr_copy(pkt->src.words, ip->saddr.in6_u.u6_addr32);
	addr_copy(pkt->dst.words, ip->daddr.in6_u.u6_addr32);
	pkt->protocol = ip->nexthdr;
	pkt->ip_check = 0;
	pkt->l4_offset = ETH_HLEN + IP6_BASE_BYTES;
	if (ip->version != 6)
		return PACKET_MALFORMED;
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP) {
		kind = skip_extensions(skb, pkt);
		if (kind != PACKET_OTHER)
			return kind;
	}
	return PACKET_FLOW;
}

/*
 * parse() - read a frame's tuple.
 * @pkt: addresses are usable unless the kind is PACKET_UNREADABLE, ports only when
 *       it is PACKET_FLOW
 */
static __always_inline void parse(struct __sk_buff *skb, struct packet *pkt, const bool v6)
{
	/* All of it: clang 19 spills what an unreadable packet has left unset. */
	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->kind = v6 ? parse_ip6(skb, pkt) : parse_ip4(skb, pkt);
	if (pkt->kind == PACKET_FLOW)
		pkt->kind = parse_l4(skb, pkt);
}

/*
 * parse_first() - the same, but a first fragment is what its datagram is.
 * @id: what the datagram's fragments share; usable of fragments
 *
 * The protocol is the datagram's, also of later fragments (PACKET_FRAGMENT).
 */
static __always_inline void parse_first(struct __sk_buff *skb, struct packet *pkt, __be32 *id,
					const bool v6)
{
	__be16 head[4]; /* IPv6: next header, offset, id; IPv4: id, offset */
	__be16 offset;

	*id = 0;
	parse(skb, pkt, v6);
	if (pkt->kind != PACKET_FRAGMENT)
		return;
	pkt->kind = PACKET_MALFORMED;
	if (v6) {
		if (bpf_skb_load_bytes(skb, pkt->l4_offset, head, sizeof(head)))
			return;
		pkt->protocol = bpf_ntohs(head[0]) >> 8;
		pkt->l4_offset += sizeof(head);
		*id = head[2] | (__u32)head[3] << 16;
		offset = head[1] & bpf_htons(IP6_OFFSET_MASK);
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + 4, head, 4))
			return;
		*id = head[0];
		offset = head[1] & bpf_htons(IP4_OFFSET_MASK);
	}
	pkt->fragment = !offset;
	pkt->kind = offset ? PACKET_FRAGMENT : parse_l4(skb, pkt);
}

/*
 * ip_bytes() - length of the packet from its IP header on, as that header says.
 *
 * A segmentation-offload packet beyond 64 KiB says 0; then what the frame holds.
 */
static __always_inline __u32 ip_bytes(struct __sk_buff *skb, const bool v6)
{
	__be16 buffer;
	const __be16 *claim = slice(skb, ETH_HLEN + (v6 ? 4 : 2), sizeof(buffer), &buffer);

	if (!claim || !*claim)
		return skb->len - ETH_HLEN;
	return bpf_ntohs(*claim) + (v6 ? IP6_BASE_BYTES : 0);
}

/*
 * lengths_fit() - does each header fit what is around it?
 *
 * Only a packet that starts a flow is asked: a later one is the backend's to judge.
 */
static __always_inline bool lengths_fit(struct __sk_buff *skb, const struct packet *pkt,
					const bool v6)
{
	__u32 end = ETH_HLEN + ip_bytes(skb, v6);
	const __be16 *claim;
	__be16 buffer;

	if (end > skb->len || pkt->l4_offset + pkt->l4_bytes > end)
		return false;
	if (pkt->protocol != IPPROTO_UDP || pkt->fragment)
		return true;
	claim = slice(skb, pkt->l4_offset + 4, sizeof(buffer), &buffer);
	if (!claim)
		return false;
	return !*claim ||
	       (bpf_ntohs(*claim) >= UDP_BYTES && pkt->l4_offset + bpf_ntohs(*claim) <= end);
}

#endif
