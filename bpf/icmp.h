/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Echo replies for VIPs (RFC 792, RFC 4443), made of the request in place.
 */
#ifndef FAIRLEAD_ICMP_H
#define FAIRLEAD_ICMP_H

#include "csum.h"
#include "forward.h"
#include "parse.h"

static __always_inline int turn_ip4(struct __sk_buff *skb)
{
	struct iphdr ip;
	__u16 was, now;
	__be32 src;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	was = bpf_htons(ip.ttl << 8 | ip.protocol);
	ip.ttl = REPLY_TTL;
	now = bpf_htons(ip.ttl << 8 | ip.protocol);
	ip.check = ~csum_fold16((__u64)(__u16)~ip.check + (__u16)~was + now);
	src = ip.saddr;
	ip.saddr = ip.daddr;
	ip.daddr = src;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int turn_ip6(struct __sk_buff *skb)
{
	struct ipv6hdr ip;
	struct in6_addr src;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	ip.hop_limit = REPLY_TTL;
	src = ip.saddr;
	ip.saddr = ip.daddr;
	ip.daddr = src;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* is_echo() - a whole request; its checksum is the asker's to judge in the reply. */
static __always_inline bool is_echo(struct __sk_buff *skb, const struct packet *pkt, const bool v6)
{
	__u8 head[ICMP_BYTES];

	if (pkt->protocol != (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    bpf_skb_load_bytes(skb, pkt->l4_offset, head, sizeof(head)))
		return false;
	return head[0] == (v6 ? ICMP6_ECHO : ICMP4_ECHO) && !head[1];
}

/*
 * echo_reply() - turn an echo request into its reply.
 *
 * The pseudo-header of ICMPv6 does not change: the same addresses, swapped.
 * Returns 0 or a negative errno; then the packet is half rewritten: drop it.
 */
static __always_inline int echo_reply(struct __sk_buff *skb, const struct packet *pkt,
				      const bool v6)
{
	__u8 type = v6 ? ICMP6_ECHO_REPLY : ICMP4_ECHO_REPLY;
	__be16 was = bpf_htons((v6 ? ICMP6_ECHO : ICMP4_ECHO) << 8);
	__be16 now = bpf_htons(type << 8);

	if (turn_ethernet(skb) || (v6 ? turn_ip6(skb) : turn_ip4(skb)))
		return -1;
	if (bpf_l4_csum_replace(skb, pkt->l4_offset + 2, was, now, 2))
		return -1;
	return bpf_skb_store_bytes(skb, pkt->l4_offset, &type, sizeof(type), 0);
}

#endif
