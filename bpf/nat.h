/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Address and port translation of a TCP or UDP packet in tc, in place: the kernel makes
 * the linear part of a clone the program's own before the program starts.
 *
 * The checksum of layer 4 may be left to a device (CHECKSUM_PARTIAL) or be known to the
 * kernel (CHECKSUM_COMPLETE), so it is the kernel's to change: addresses with
 * BPF_F_PSEUDO_HDR, ports without. An IPv4 header sums to the same as before.
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
 * nat_store() - the same as nat_write() does, through helpers.
 *
 * The kernel unshares a frame for a program that writes in place before it starts, and the
 * note of the XDP program before it is lost with that: a capture on the NIC would stop all.
 */
static __always_inline bool nat_store(struct __sk_buff *skb, const struct packet *pkt,
				      const enum side side, const struct addr *to, __u32 change,
				      __be16 sport, __be16 dport, const bool v6)
{
	__be16 ports[2] = {sport, dport};

	if (v6 ? nat_store_ip6(skb, side, to) : nat_store_ip4(skb, pkt, side, to, change))
		return false;
	if (sport == pkt->sport && dport == pkt->dport)
		return true;
	return !bpf_skb_store_bytes(skb, pkt->l4_offset, ports, sizeof(ports), 0);
}

/* Of TCP and UDP: what nat_write() writes there. */
#define PORTS_BYTES 4

/* nat_linear() - bring the headers into the linear area, where they almost always are. */
static __always_inline bool nat_linear(struct __sk_buff *skb, __u32 bytes)
{
	const void *data = (const void *)(long)skb->data;

	if (data + bytes <= (const void *)(long)skb->data_end)
		return true;
	return !bpf_skb_pull_data(skb, bytes);
}

/* nat_write() - the address and the ports; checksums of layer 4 not. */
static __always_inline bool nat_write(struct __sk_buff *skb, const struct packet *pkt,
				      const enum side side, const struct addr *to, __u32 change,
				      __be16 sport, __be16 dport, const bool v6)
{
	__u32 offset = pkt->l4_offset;
	struct ipv6hdr *ip6;
	struct iphdr *ip4;
	void *data, *end;
	__be16 *ports;

	/* clang knows the least offset, and would leave out checks that the verifier wants. */
	asm volatile("" : "+r"(offset));
	if (offset > MAX_HEADERS_BYTES || !nat_linear(skb, offset + PORTS_BYTES))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ports = data + offset;
	if ((void *)(ports + 2) > end ||
	    data + ETH_HLEN + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES) > end)
		return false;
	if (v6) {
		ip6 = data + ETH_HLEN;
		addr_copy(side == SIDE_SOURCE ? ip6->saddr.in6_u.u6_addr32
					      : ip6->daddr.in6_u.u6_addr32,
			  to->words);
	} else {
		ip4 = data + ETH_HLEN;
		ip4->check = csum_adjust(pkt->ip_check, change);
		if (side == SIDE_SOURCE)
			ip4->saddr = to->words[3];
		else
			ip4->daddr = to->words[3];
	}
	ports[0] = sport;
	ports[1] = dport;
	return true;
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
	change = csum_addr_change(from, to, v6);
	if (xdp_ahead ? !nat_store(skb, pkt, side, to, change, sport, dport, v6)
		      : !nat_write(skb, pkt, side, to, change, sport, dport, v6))
		return DROP_REWRITE;
	if (!addr_equal(from->words, to->words, v6) &&
	    bpf_l4_csum_replace(skb, check, 0, change,
				flags | BPF_F_PSEUDO_HDR | (v6 ? csum_ipv6_flag : 0)))
		return DROP_REWRITE;
	if ((sport != was[0] || dport != was[1]) &&
	    bpf_l4_csum_replace(skb, check, was[0] | (__u32)was[1] << 16,
				ports[0] | (__u32)ports[1] << 16, flags | 4))
		return DROP_REWRITE;
	return DROP_NONE;
}

/* fragment_readdress() - the address of a later fragment. Returns 0 or a
 * negative errno. */
static __always_inline int fragment_readdress(struct __sk_buff *skb, const struct packet *pkt,
					      const enum side side, const struct addr *to,
					      const bool v6)
{
	const struct addr *from = side == SIDE_SOURCE ? &pkt->src : &pkt->dst;

	if (!v6)
		return nat_store_ip4(skb, pkt, side, to, csum_addr_change(from, to, v6));
	return bpf_skb_store_bytes(skb, ETH_HLEN + (side == SIDE_SOURCE ? 8 : 24), to, sizeof(*to),
				   BPF_F_RECOMPUTE_CSUM);
}

#endif
