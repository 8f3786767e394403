/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The outer header of a tunnel: IPIP (RFC 2003) and IP6IP6 (RFC 2473), without options.
 * It has a TTL of its own; the inner one is counted down where the packet comes out.
 */
#ifndef FAIRLEAD_ENCAP_H
#define FAIRLEAD_ENCAP_H

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "csum.h"
#include "net.h"

#define TUNNEL_TTL 64

/* outer_ip4() - @bytes: of the inner packet, from its IP header on */
static __always_inline void outer_ip4(struct iphdr *ip, const struct addr *from,
				      const struct addr *to, __u32 bytes)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = IP4_BASE_BYTES / 4;
	ip->tot_len = bpf_htons(bytes + IP4_BASE_BYTES);
	ip->frag_off = bpf_htons(IP4_DONT_FRAGMENT);
	ip->ttl = TUNNEL_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = from->words[3];
	ip->daddr = to->words[3];
	ip->check = ~csum_fold16(csum_words(ip, sizeof(*ip)));
}

static __always_inline void outer_ip6(struct ipv6hdr *ip, const struct addr *from,
				      const struct addr *to, __u32 bytes)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(bytes);
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = TUNNEL_TTL;
	addr_copy(ip->saddr.in6_u.u6_addr32, from->words);
	addr_copy(ip->daddr.in6_u.u6_addr32, to->words);
}

#endif
