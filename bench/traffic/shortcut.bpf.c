// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least that a packet can cost in tc when nothing of the stack is passed: one VIP, one backend,
 * everything constant, no table, no count. A bound, no balancer.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shortcut.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define IP_BYTES sizeof(struct iphdr)
#define CHECK_OFFSET (ETH_HLEN + __builtin_offsetof(struct iphdr, check))

const volatile struct shortcut_settings settings = {};

static __always_inline int rewrite(struct __sk_buff *skb, __u8 protocol, __u32 at, __be32 was,
				   __be32 is, const volatile __u8 *macs)
{
	__u32 check = ETH_HLEN + IP_BYTES;
	__u64 flags = BPF_F_PSEUDO_HDR | sizeof(is);
	__u8 ends[12];
	int i;

	check += protocol == IPPROTO_TCP ? __builtin_offsetof(struct tcphdr, check)
					 : __builtin_offsetof(struct udphdr, check);
	if (protocol == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	for (i = 0; i < 12; i++)
		ends[i] = macs[i];
	return bpf_l4_csum_replace(skb, check, was, is, flags) ||
	       bpf_l3_csum_replace(skb, CHECK_OFFSET, was, is, sizeof(is)) ||
	       bpf_skb_store_bytes(skb, at, &is, sizeof(is), 0) ||
	       bpf_skb_store_bytes(skb, 0, ends, sizeof(ends), 0);
}

/* ports_of() - NULL: neither TCP nor UDP over IPv4, or no whole header. */
static __always_inline const __be16 *ports_of(struct __sk_buff *skb, const struct iphdr **ip)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const __be16 *ports;

	*ip = (const void *)(eth + 1);
	ports = (const void *)(*ip + 1);
	if ((const void *)(ports + 2) > (const void *)(long)skb->data_end ||
	    eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ((*ip)->protocol != IPPROTO_TCP && (*ip)->protocol != IPPROTO_UDP))
		return NULL;
	return ports;
}

/* to_backend() - ingress of the NIC. */
SEC("tc")
int to_backend(struct __sk_buff *skb)
{
	const struct iphdr *ip;
	const __be16 *ports = ports_of(skb, &ip);

	if (!ports || ip->daddr != settings.vip || ports[1] != settings.port)
		return TC_ACT_UNSPEC;
	if (rewrite(skb, ip->protocol, ETH_HLEN + __builtin_offsetof(struct iphdr, daddr),
		    settings.vip, settings.backend, settings.to_backend))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(settings.backend_ifindex, 0);
}

/* to_client() - ingress of the host's end of the container's veth. */
SEC("tc")
int to_client(struct __sk_buff *skb)
{
	const struct iphdr *ip;
	const __be16 *ports = ports_of(skb, &ip);

	if (!ports || ip->saddr != settings.backend || ports[0] != settings.port)
		return TC_ACT_UNSPEC;
	if (rewrite(skb, ip->protocol, ETH_HLEN + __builtin_offsetof(struct iphdr, saddr),
		    settings.backend, settings.vip, settings.to_client))
		return TC_ACT_SHOT;
	return bpf_redirect(settings.client_ifindex, 0);
}
