/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parsing in XDP: the tuple of an ordinary TCP or UDP packet. Whatever is more than
 * that (options, extension headers, fragments) is PACKET_OTHER here: tc parses it again.
 */
#ifndef FAIRLEAD_XDPPARSE_H
#define FAIRLEAD_XDPPARSE_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "net.h"
#include "parse.h"

/*
 * xdp_bytes() - length of the packet from its IP header on.
 *
 * The difference is taken at once: clang would spill half a pointer, which no verifier takes.
 */
static __always_inline __u32 xdp_bytes(struct xdp_md *ctx)
{
	__u64 bytes = (long)ctx->data_end;

	bytes -= (long)ctx->data;
	asm volatile("" : "+r"(bytes));
	return bytes - ETH_HLEN;
}

/*
 * xdp_l4() - the TCP or UDP header, wholly inside the frame.
 *
 * Both have their ports first. Returns NULL when the frame ends before.
 */
static __always_inline void *xdp_l4(struct xdp_md *ctx, __u8 protocol, const bool v6)
{
	void *l4 = (void *)(long)ctx->data + ETH_HLEN + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES);
	void *end = (void *)(long)ctx->data_end;

	if (protocol == IPPROTO_TCP)
		return l4 + TCP_BASE_BYTES > end ? NULL : l4;
	return l4 + UDP_BYTES > end ? NULL : l4;
}

static __always_inline enum packet_kind xdp_parse_ip4(struct xdp_md *ctx, struct packet *pkt)
{
	const struct iphdr *ip = (const void *)(long)ctx->data + ETH_HLEN;

	if ((const void *)(ip + 1) > (const void *)(long)ctx->data_end)
		return PACKET_UNREADABLE;
	addr_set4(&pkt->src, ip->saddr);
	addr_set4(&pkt->dst, ip->daddr);
	pkt->protocol = ip->protocol;
	pkt->ip_check = ip->check;
	if (ip->version != 4)
		return PACKET_MALFORMED;
	if (ip->ihl != IP4_BASE_BYTES / 4 || (ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK)))
		return PACKET_OTHER;
	return ip->ttl < 2 ? PACKET_LAST_HOP : PACKET_FLOW;
}

static __always_inline enum packet_kind xdp_parse_ip6(struct xdp_md *ctx, struct packet *pkt)
{
	const struct ipv6hdr *ip = (const void *)(long)ctx->data + ETH_HLEN;

	if ((const void *)(ip + 1) > (const void *)(long)ctx->data_end)
		return PACKET_UNREADABLE;
	addr_copy(pkt->src.words, ip->saddr.in6_u.u6_addr32);
	addr_copy(pkt->dst.words, ip->daddr.in6_u.u6_addr32);
	pkt->protocol = ip->nexthdr;
	pkt->ip_check = 0;
	if (ip->version != 6)
		return PACKET_MALFORMED;
	return ip->hop_limit < 2 ? PACKET_LAST_HOP : PACKET_FLOW;
}

/*
 * xdp_first_ports() - is it a first fragment? Then what its datagram is goes to @pkt.
 * @pkt: as parsed, PACKET_OTHER
 */
static __always_inline bool xdp_first_ports(struct xdp_md *ctx, struct packet *pkt, const bool v6)
{
	void *end = (void *)(long)ctx->data_end;
	void *ip = (void *)(long)ctx->data + ETH_HLEN;
	__be16 *l4 = ip + IP4_BASE_BYTES;

	if (v6) {
		const __be16 *head = ip + IP6_BASE_BYTES; /* next header, offset, id */

		l4 = ip + IP6_BASE_BYTES + IP6_FRAGMENT_BYTES;
		if ((void *)(l4 + 2) > end || ((struct ipv6hdr *)ip)->nexthdr != IPPROTO_FRAGMENT ||
		    (head[1] & bpf_htons(IP6_OFFSET_MASK)))
			return false;
		pkt->protocol = bpf_ntohs(head[0]) >> 8;
	} else if ((void *)(l4 + 2) > end || ((struct iphdr *)ip)->ihl != IP4_BASE_BYTES / 4 ||
		   (((struct iphdr *)ip)->frag_off & bpf_htons(IP4_FRAGMENT_MASK)) !=
			   bpf_htons(IP4_MORE_FRAGMENTS)) {
		return false;
	}
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP)
		return false;
	pkt->sport = l4[0];
	pkt->dport = l4[1];
	return true;
}

/*
 * xdp_parse() - read a frame's tuple.
 * @pkt: addresses are usable unless the kind is PACKET_UNREADABLE, ports only when it is
 *       PACKET_FLOW or PACKET_LAST_HOP
 */
static __always_inline void xdp_parse(struct xdp_md *ctx, struct packet *pkt, const bool v6)
{
	const __be16 *l4;

	pkt->kind = v6 ? xdp_parse_ip6(ctx, pkt) : xdp_parse_ip4(ctx, pkt);
	if (pkt->kind != PACKET_FLOW && pkt->kind != PACKET_LAST_HOP)
		return;
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP) {
		pkt->kind = PACKET_OTHER;
		return;
	}
	l4 = xdp_l4(ctx, pkt->protocol, v6);
	if (!l4) {
		pkt->kind = PACKET_OTHER;
		return;
	}
	pkt->sport = l4[0];
	pkt->dport = l4[1];
	pkt->tcp_flags = pkt->protocol == IPPROTO_TCP ? ((const __u8 *)l4)[13] : 0;
}

#endif
