/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Telling those who watch of packets that were not carried. At the end of a program,
 * which has the packet; what notes the reason does not.
 */
#ifndef FAIRLEAD_LOSS_H
#define FAIRLEAD_LOSS_H

#include "config.h"
#include "event.h"
#include "maps.h"
#include "parse.h"
#include "vip.h"

/* service_dialled() - 0: none, or it cannot be told. */
static __always_inline __u32 service_dialled(const struct packet *pkt, const bool v6)
{
	struct vip *vip;
	__be16 target;

	if (pkt->kind != PACKET_FLOW && pkt->kind != PACKET_LAST_HOP)
		return 0;
	vip = vip_lookup(network_id, &pkt->dst, v6);
	if (!vip)
		return 0;
	return vip_service(vip, network_id, &pkt->dst, pkt->dport, pkt->protocol, &target, v6);
}

/*
 * tell_loss() - @pkt: as parsed when it was dropped: a reply has the service for a client
 * @refused: its sender is told, unless it is a reset
 */
static __always_inline int tell_loss(const struct packet *pkt, enum drop_reason reason,
				     bool refused, const bool v6)
{
	const __u32 kind = refused && !(pkt->tcp_flags & TCP_RST) ? WATCH_REFUSED : WATCH_DROPPED;
	const bool ports = pkt->kind == PACKET_FLOW || pkt->kind == PACKET_LAST_HOP;
	struct watching *asked = watching_of();
	struct flow_event *event;
	__u32 service;

	if (!asked || !(asked->kinds & WATCH_BIT(kind)) || pkt->kind == PACKET_UNREADABLE)
		return 0;
	service = service_dialled(pkt, v6);
	if (!is_asked(asked, pkt->src.words, ports ? pkt->sport : 0, service, 0) ||
	    !may_tell(asked, true))
		return 0;
	event = event_reserve(asked);
	if (!event)
		return 0;
	event_ends(event, pkt->src.words, ports ? pkt->sport : 0, pkt->dst.words,
		   ports ? pkt->dport : 0);
	event->service = service;
	event->kind = kind;
	event->reason = reason;
	event->protocol = pkt->protocol;
	event->path = packet_path;
	event->network = network_id;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline int tell_packet(struct __sk_buff *skb, __u32 reason, bool refused,
				       const bool v6)
{
	struct packet pkt = {};

	parse(skb, &pkt, v6);
	return tell_loss(&pkt, reason, refused, v6);
}

__noinline int tell_packet4(struct __sk_buff *skb, __u32 reason, __u32 refused)
{
	return tell_packet(skb, reason, refused, false);
}

__noinline int tell_packet6(struct __sk_buff *skb, __u32 reason, __u32 refused)
{
	return tell_packet(skb, reason, refused, true);
}

#endif
