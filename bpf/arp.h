/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ARP for VIPs that lie inside a subnet (RFC 826). Every other request is left to
 * the link. So are those of a sender that claims the VIP or probes whether it may
 * (RFC 5227): whoever configures a VIP on purpose must not be told that it is taken.
 */
#ifndef FAIRLEAD_ARP_H
#define FAIRLEAD_ARP_H

#include "count.h"
#include "forward.h"
#include "vip.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp_frame {
	__u8 eth_dst[ETH_ALEN];
	__u8 eth_src[ETH_ALEN];
	__be16 eth_type;
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender_ip;
	__u8 target_mac[ETH_ALEN];
	__be32 target_ip;
} __attribute__((packed));

static __always_inline bool arp_asks(const struct arp_frame *arp)
{
	return arp->hardware == bpf_htons(ARP_ETHERNET) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_bytes == ETH_ALEN && arp->protocol_bytes == 4 &&
	       arp->operation == bpf_htons(ARP_REQUEST) && arp->sender_ip &&
	       arp->sender_ip != arp->target_ip;
}

/* answer_arp() - the verdict on an ARP frame that a container sent. */
static __always_inline int answer_arp(struct __sk_buff *skb)
{
	struct arp_frame arp;
	struct addr target;
	struct vip *vip;
	__be32 asker;
	int i;

	if (bpf_skb_load_bytes(skb, 0, &arp, sizeof(arp)) || !arp_asks(&arp))
		return VERDICT_PASS;
	addr_set4(&target, arp.target_ip);
	vip = vip_lookup(network_id, &target, false);
	if (!vip || !(vip->flags & VIP_BALANCED))
		return VERDICT_PASS;
	__builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
	for (i = 0; i < ETH_ALEN; i++) {
		arp.eth_dst[i] = arp.eth_src[i];
		arp.eth_src[i] = vip_mac[i];
		arp.sender_mac[i] = vip_mac[i];
	}
	asker = arp.sender_ip;
	arp.sender_ip = arp.target_ip;
	arp.target_ip = asker;
	arp.operation = bpf_htons(ARP_REPLY);
	if (bpf_skb_store_bytes(skb, 0, &arp, sizeof(arp), 0)) {
		count_drop(DROP_REWRITE, packet_path);
		return VERDICT_DROP;
	}
	count_event(EVENT_ARP, packet_path);
	return send_back(skb);
}

#endif
