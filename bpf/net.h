/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Words of the wire that the kernel's headers lack, and the address type. Nothing
 * here looks at a packet.
 */
#ifndef FAIRLEAD_NET_H
#define FAIRLEAD_NET_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ADDRESS_FAMILY_4 2
#define ADDRESS_FAMILY_6 10

#define IP4_FRAGMENT_MASK 0x3fff /* more fragments, or an offset */
#define IP4_DONT_FRAGMENT 0x4000
#define IP4_MORE_FRAGMENTS 0x2000
#define IP4_OFFSET_MASK 0x1fff
#define IP6_OFFSET_MASK 0xfff8
#define IP4_BASE_BYTES 20
#define IP6_BASE_BYTES 40
#define IP6_FRAGMENT_BYTES 8
#define TCP_BASE_BYTES 20
#define UDP_BYTES 8
#define ICMP_BYTES 8
#define REPLY_TTL 64

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_PORT_UNREACHABLE 3
#define ICMP4_FRAGMENTATION_NEEDED 4
#define ICMP4_ECHO 8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_PORT_UNREACHABLE 4
#define ICMP6_TOO_BIG 2
#define ICMP6_PARAMETER_PROBLEM 4
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_NEIGHBOUR_SOLICITATION 135
#define ICMP6_NEIGHBOUR_ADVERTISEMENT 136

/* Either family, as in maps.h: IPv4 is v4-mapped. */
struct addr {
	__be32 words[4];
};

static __always_inline void addr_set4(struct addr *addr, __be32 ip4)
{
	addr->words[0] = 0;
	addr->words[1] = 0;
	addr->words[2] = bpf_htonl(0xffff);
	addr->words[3] = ip4;
}

static __always_inline void addr_copy(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* addr_equal() - of one family, so the words that v4-mapping fills need no look. */
static __always_inline bool addr_equal(const __be32 a[4], const __be32 b[4], const bool v6)
{
	if (a[3] != b[3])
		return false;
	return !v6 || (a[0] == b[0] && a[1] == b[1] && a[2] == b[2]);
}

#endif
