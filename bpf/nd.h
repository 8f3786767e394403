/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Neighbour discovery for VIPs that lie inside a subnet (RFC 4861). Duplicate address
 * detection, a solicitation from `::`, is left alone for the reason given in arp.h.
 */
#ifndef FAIRLEAD_ND_H
#define FAIRLEAD_ND_H

#include "count.h"
#include "csum.h"
#include "forward.h"
#include "vip.h"

#define ND_HOP_LIMIT 255 /* whoever sends another is not on the link */
#define ND_SOLICITED_OVERRIDE 0x60000000
#define ND_TARGET_LINK_ADDRESS 2

struct nd_message {
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 flags;
	struct addr target;
};

struct nd_advertisement {
	struct nd_message message;
	__u8 option;
	__u8 option_bytes8; /* in units of 8 */
	__u8 mac[ETH_ALEN];
};

struct nd_frame {
	__u8 eth_dst[ETH_ALEN];
	__u8 eth_src[ETH_ALEN];
	__be16 eth_type;
	struct ipv6hdr ip;
	struct nd_advertisement nd;
} __attribute__((packed));

/* is_solicitation() - cheap: of ICMPv6 only; nd_asks() looks closer. */
static __always_inline bool is_solicitation(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 type;

	return pkt->protocol == IPPROTO_ICMPV6 &&
	       !bpf_skb_load_bytes(skb, pkt->l4_offset, &type, sizeof(type)) &&
	       type == ICMP6_NEIGHBOUR_SOLICITATION;
}

static __always_inline bool nd_asks(struct __sk_buff *skb, const struct packet *pkt,
				    struct nd_message *message)
{
	__u8 hop_limit;

	if (pkt->l4_offset != ETH_HLEN + IP6_BASE_BYTES ||
	    bpf_skb_load_bytes(skb, pkt->l4_offset, message, sizeof(*message)) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + 7, &hop_limit, sizeof(hop_limit)))
		return false;
	return message->type == ICMP6_NEIGHBOUR_SOLICITATION && !message->code &&
	       hop_limit == ND_HOP_LIMIT &&
	       (pkt->src.words[0] | pkt->src.words[1] | pkt->src.words[2] | pkt->src.words[3]);
}

static __always_inline int nd_reply(struct __sk_buff *skb, const struct packet *pkt,
				    const struct addr *target)
{
	/* The addresses of a packed frame are no multiple of 4: it is only copied. */
	struct nd_advertisement nd = {};
	struct nd_frame frame = {};
	int i;

	if (bpf_skb_load_bytes(skb, ETH_ALEN, frame.eth_dst, ETH_ALEN))
		return -1;
	nd.message.type = ICMP6_NEIGHBOUR_ADVERTISEMENT;
	nd.message.flags = bpf_htonl(ND_SOLICITED_OVERRIDE);
	nd.message.target = *target;
	nd.option = ND_TARGET_LINK_ADDRESS;
	nd.option_bytes8 = 1;
	for (i = 0; i < ETH_ALEN; i++) {
		nd.mac[i] = vip_mac[i];
		frame.eth_src[i] = vip_mac[i];
	}
	nd.message.check =
		~csum_fold16(csum_pseudo(target, &pkt->src, IPPROTO_ICMPV6, sizeof(nd), true) +
			     csum_words(&nd, sizeof(nd)));
	frame.eth_type = bpf_htons(ETH_P_IPV6);
	frame.ip.version = 6;
	frame.ip.payload_len = bpf_htons(sizeof(nd));
	frame.ip.nexthdr = IPPROTO_ICMPV6;
	frame.ip.hop_limit = ND_HOP_LIMIT;
	__builtin_memcpy(&frame.ip.saddr, target, sizeof(*target));
	__builtin_memcpy(&frame.ip.daddr, &pkt->src, sizeof(pkt->src));
	frame.nd = nd;
	if (bpf_skb_change_tail(skb, sizeof(frame), 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}

/* answer_nd() - the verdict on a solicitation, to a group or to the VIP itself. */
static __always_inline int answer_nd(struct __sk_buff *skb, const struct packet *pkt)
{
	struct nd_message message;
	struct addr target;
	struct vip *vip;

	if (!nd_asks(skb, pkt, &message))
		return VERDICT_PASS;
	target = message.target;
	vip = vip_lookup(network_id, &target, true);
	if (!vip || !(vip->flags & VIP_BALANCED))
		return VERDICT_PASS;
	if (nd_reply(skb, pkt, &target)) {
		count_drop(DROP_REWRITE, packet_path);
		return VERDICT_DROP;
	}
	count_event(EVENT_ND, packet_path);
	return send_back(skb);
}

#endif
