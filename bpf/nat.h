/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Address and port translation of a TCP or UDP packet in tc. Writes through helpers
 * only: a program that writes packets directly has every cloned one copied before it
 * starts, and TCP sends clones.
 *
 * A checksum may be left to a device (CHECKSUM_PARTIAL), so addresses go through
 * BPF_F_PSEUDO_HDR and ports do not.
 */
#ifndef FAIRLEAD_NAT_H
#define FAIRLEAD_NAT_H

#include "csum.h"
#include "maps.h"
#include "parse.h"

enum side { SIDE_SOURCE, SIDE_DESTINATION };

static __always_inline int nat_store_ip4(struct __sk_buff *skb, const struct packet *pkt,
					 const enum side side, const struct addr *to, __u32 change)
{
	/* Checksum and both addresses are neighbours: one call writes them all. */
	struct {
		__u16 check;
		__be32 src;
		__be32 dst;
	} __attribute__((packed)) part = {
		.check = ~csum_fold16((__u64)(__u16)~pkt->ip_check + change),
		.src = side == SIDE_SOURCE ? to->words[3] : pkt->src.words[3],
		.dst = side == SIDE_DESTINATION ? to->words[3] : pkt->dst.words[3],
	};

	return bpf_skb_store_bytes(skb, ETH_HLEN + 10, &part, sizeof(part), 0);
}

static __always_inline int nat_store_ip6(struct __sk_buff *skb, const enum side side,
					 const struct addr *to)
{
	return bpf_skb_store_bytes(skb, ETH_HLEN + (side == SIDE_SOURCE ? 8 : 24), to, sizeof(*to),
				   0);
}

/*
 * nat() - replace one address and, where they differ, the ports.
 * @pkt:  as parsed; stays as it was, so it no longer describes the packet
 * @side: whose address becomes @to; a constant
 *
 * Returns DROP_NONE or DROP_REWRITE; then the packet is half rewritten: drop it.
 */
static __always_inline enum drop_reason nat(struct __sk_buff *skb, const struct packet *pkt,
					    const enum side side, const struct addr *to,
					    __be16 sport, __be16 dport, const bool v6)
{
	const struct addr *from = side == SIDE_SOURCE ? &pkt->src : &pkt->dst;
	__be16 was[2] = {pkt->sport, pkt->dport};
	__be16 ports[2] = {sport, dport};
	__u32 check = pkt->l4_offset + UDP_CHECK_OFFSET;
	__u64 flags = BPF_F_MARK_MANGLED_0;
	__u32 change;

	if (pkt->protocol == IPPROTO_TCP) {
		check = pkt->l4_offset + TCP_CHECK_OFFSET;
		flags = 0;
	}
	if (!addr_equal(from->words, to->words, v6)) {
		change = csum_addr_change(from, to, v6);
		if (v6 ? nat_store_ip6(skb, side, to) : nat_store_ip4(skb, pkt, side, to, change))
			return DROP_REWRITE;
		if (bpf_l4_csum_replace(skb, check, 0, change,
					flags | BPF_F_PSEUDO_HDR | (v6 ? csum_ipv6_flag : 0)))
			return DROP_REWRITE;
	}
	if (sport != was[0] || dport != was[1]) {
		if (bpf_l4_csum_replace(skb, check, was[0] | (__u32)was[1] << 16,
					ports[0] | (__u32)ports[1] << 16, flags | 4) ||
		    bpf_skb_store_bytes(skb, pkt->l4_offset, ports, sizeof(ports), 0))
			return DROP_REWRITE;
	}
	return DROP_NONE;
}

#endif
