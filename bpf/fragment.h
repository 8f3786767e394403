/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments of both families (RFC 791, RFC 8200 4.5), in order: the first one
 * has the ports, is translated like a whole packet and leaves them in
 * `fragments`, where those that follow find them. These have addresses alone;
 * the transport's checksum, in the first, is of the whole datagram and right by
 * then.
 */
#ifndef FAIRLEAD_FRAGMENT_H
#define FAIRLEAD_FRAGMENT_H

#include "hairpin.h"
#include "icmp.h"

static __always_inline void fragment_key_set(struct fragment_key *key, const struct packet *pkt,
					     __be32 id)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->network = network_id;
	addr_copy(key->src, pkt->src.words);
	addr_copy(key->dst, pkt->dst.words);
	key->id = id;
	key->protocol = pkt->protocol;
}

static __always_inline void fragment_remember(const struct packet *pkt, __be32 id)
{
	struct fragment ports = {.sport = pkt->sport, .dport = pkt->dport};
	struct fragment_key key;

	fragment_key_set(&key, pkt, id);
	bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
}

/* fragment_recall() - give a later fragment its ports. Returns false when they
 * are lost. */
static __always_inline bool fragment_recall(struct packet *pkt, __be32 id)
{
	struct fragment *ports;
	struct fragment_key key;

	fragment_key_set(&key, pkt, id);
	ports = bpf_map_lookup_elem(&fragments, &key);
	if (!ports)
		return false;
	pkt->sport = ports->sport;
	pkt->dport = ports->dport;
	return true;
}

/* fragment_echo() - a part of an echo request, turned into that of the reply.
 */
static __always_inline int fragment_echo(struct __sk_buff *skb, const struct packet *pkt,
					 bool first, const bool v6)
{
	int error;

	if (first)
		error = echo_reply(skb, pkt, v6);
	else
		error = turn_ethernet(skb) || (v6 ? turn_ip6(skb) : turn_ip4(skb));
	if (error)
		return drop(DROP_REWRITE);
	if (first)
		count_event(EVENT_ECHO, packet_path);
	return send_back(skb);
}

/* fragment_follow() - a later fragment of a flow's datagram, after its first.
 */
static __always_inline int fragment_follow(struct __sk_buff *skb, const struct packet *pkt,
					   const bool v6)
{
	struct overflow_key from;
	struct backend *backend;
	union flow_key key;
	struct flow *row;
	bool embryonic;

	flow_key_set(&key, &pkt->src, pkt->sport, pkt->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !flow_of(row, pkt, v6)) {
		overflow_key_of(&from, pkt);
		row = flow_via_overflow(pkt, &from, &key, &embryonic, v6);
	}
	if (!row) {
		flow_key_set(&key, &pkt->dst, pkt->dport, pkt->protocol, v6);
		row = flow_find(&key, &embryonic, v6);
		if (!row || !hairpin_by(row, &pkt->src, v6))
			return drop(DROP_FRAGMENT);
	}
	backend = backend_alive(row->backend, row->service, row->incarnation);
	if (!backend)
		return drop(DROP_FRAGMENT);
	if (row->flags & FLOW_HAIRPIN) {
		if (swap_addresses(skb, pkt, v6) || turn_ethernet(skb))
			return drop(DROP_REWRITE);
		return send_back(skb);
	}
	chosen_set(skb, row->backend);
	if (!as_dialled(row->backend) &&
	    fragment_readdress(skb, pkt, SIDE_DESTINATION, (const struct addr *)backend->addr, v6))
		return drop(DROP_REWRITE);
	observe_packet(skb, pkt, row, DIR_IN);
	count_traffic(skb, pkt, row->backend, DIR_IN);
	return forward_to(skb, backend, v6);
}

/*
 * is_published() - is it of a datagram to a port that the node publishes? All others to the
 * node's own addresses are its own.
 */
static __always_inline bool is_published(const struct vip *vip, const struct packet *pkt, __be32 id,
					 const bool v6)
{
	struct fragment_key key;
	__be16 target;

	if (pkt->kind == PACKET_FLOW)
		return vip_service(vip, network_id, &pkt->dst, pkt->dport, pkt->protocol, &target,
				   v6);
	fragment_key_set(&key, pkt, id);
	return pkt->kind == PACKET_FRAGMENT && bpf_map_lookup_elem(&fragments, &key);
}

/* fragment_in() - the verdict on a fragment to a VIP, or VERDICT_ADMIT for a
 * first one. */
static __always_inline int fragment_in(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm;
	struct packet pkt;
	struct vip *vip;
	__be32 id;

	parse_first(skb, &pkt, &id, v6);
	vip = vip_lookup(network_id, &pkt.dst, v6);
	if (pkt.kind == PACKET_UNREADABLE || !vip)
		return VERDICT_PASS;
	if (!(vip->flags & VIP_BALANCED) && !is_published(vip, &pkt, id, v6))
		return VERDICT_PASS;
	if (pkt.kind == PACKET_MALFORMED)
		return drop(DROP_MALFORMED);
	if (pkt.kind == PACKET_FRAGMENT) {
		if (!fragment_recall(&pkt, id))
			return drop(DROP_FRAGMENT);
		if (pkt.protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
			return fragment_echo(skb, &pkt, false, v6);
		return fragment_follow(skb, &pkt, v6);
	}
	if (pkt.kind == PACKET_OTHER && !is_echo(skb, &pkt, v6))
		return drop(DROP_FRAGMENT);
	fragment_remember(&pkt, id);
	if (pkt.kind == PACKET_OTHER)
		return fragment_echo(skb, &pkt, true, v6);
	adm = admission_open(&pkt, false);
	if (!adm)
		return VERDICT_PASS;
	adm->vip = *vip;
	return VERDICT_ADMIT;
}

__noinline int fragment_in4(struct __sk_buff *skb)
{
	return fragment_in(skb, false);
}

__noinline int fragment_in6(struct __sk_buff *skb)
{
	return fragment_in(skb, true);
}

#endif
