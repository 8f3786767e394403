/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Translation of a TCP or UDP packet in XDP, in place. Checksums are whole here, as they
 * come from the wire: a packet whose checksum is left to a device cannot be told apart.
 * Incremental update: RFC 1624; a UDP checksum of 0 is none (RFC 768).
 */
#ifndef FAIRLEAD_XDPNAT_H
#define FAIRLEAD_XDPNAT_H

#include "csum.h"
#include "maps.h"
#include "xdpparse.h"

/*
 * xdp_nat_l4() - the ports.
 * @l4:     of xdp_l4()
 * @change: in the sum of the addresses
 *
 * Returns DROP_NONE or DROP_REWRITE.
 */
static __always_inline enum drop_reason xdp_nat_l4(struct xdp_md *ctx, __be16 *l4,
						   const struct packet *pkt, __u32 change,
						   __be16 sport, __be16 dport)
{
	void *end = (void *)(long)ctx->data_end;
	__u16 *check;

	/* Unknown to clang, which would leave out a check that the verifier of 6.1 wants: a
	 * protocol that was on the stack meanwhile may be another one to it. */
	asm volatile("" : "+r"(end));
	change = csum_fold32((__u64)change + (__u16)~pkt->sport + sport + (__u16)~pkt->dport +
			     dport);
	l4[0] = sport;
	l4[1] = dport;
	if (pkt->protocol == IPPROTO_TCP) {
		check = (void *)l4 + TCP_CHECK_OFFSET;
		if ((void *)(check + 1) > end)
			return DROP_REWRITE;
		*check = csum_adjust(*check, change);
		return DROP_NONE;
	}
	check = (void *)l4 + UDP_CHECK_OFFSET;
	if (!*check)
		return DROP_NONE;
	*check = csum_adjust(*check, change);
	if (!*check)
		*check = 0xffff;
	return DROP_NONE;
}

/*
 * xdp_nat() - replace the destination's address and both ports.
 * @pkt: as parsed; stays as it was
 *
 * Returns DROP_NONE or DROP_REWRITE; then the packet is half rewritten: drop it.
 */
static __always_inline enum drop_reason xdp_nat(struct xdp_md *ctx, const struct packet *pkt,
						const struct addr *to, __be16 sport, __be16 dport,
						const bool v6)
{
	__u32 change = csum_addr_change(&pkt->dst, to, v6);
	void *ip = (void *)(long)ctx->data + ETH_HLEN;
	__be16 *l4 = xdp_l4(ctx, pkt->protocol, v6);

	if (!l4 || ip + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES) > (void *)(long)ctx->data_end)
		return DROP_REWRITE;
	if (v6) {
		addr_copy(((struct ipv6hdr *)ip)->daddr.in6_u.u6_addr32, to->words);
	} else {
		((struct iphdr *)ip)->daddr = to->words[3];
		((struct iphdr *)ip)->check = csum_adjust(((struct iphdr *)ip)->check, change);
	}
	return xdp_nat_l4(ctx, l4, pkt, change, sport, dport);
}

/*
 * xdp_nat_both() - replace both addresses and both ports.
 *
 * Returns DROP_NONE or DROP_REWRITE, as xdp_nat() does.
 */
static __always_inline enum drop_reason xdp_nat_both(struct xdp_md *ctx, const struct packet *pkt,
						     const struct addr *from, const struct addr *to,
						     __be16 sport, __be16 dport, const bool v6)
{
	__u32 change = csum_fold32((__u64)csum_addr_change(&pkt->src, from, v6) +
				   csum_addr_change(&pkt->dst, to, v6));
	void *ip = (void *)(long)ctx->data + ETH_HLEN;
	__be16 *l4 = xdp_l4(ctx, pkt->protocol, v6);

	if (!l4 || ip + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES) > (void *)(long)ctx->data_end)
		return DROP_REWRITE;
	if (v6) {
		addr_copy(((struct ipv6hdr *)ip)->saddr.in6_u.u6_addr32, from->words);
		addr_copy(((struct ipv6hdr *)ip)->daddr.in6_u.u6_addr32, to->words);
	} else {
		((struct iphdr *)ip)->saddr = from->words[3];
		((struct iphdr *)ip)->daddr = to->words[3];
		((struct iphdr *)ip)->check = csum_adjust(((struct iphdr *)ip)->check, change);
	}
	return xdp_nat_l4(ctx, l4, pkt, change, sport, dport);
}

#endif
