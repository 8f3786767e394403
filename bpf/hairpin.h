/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hairpin: a backend that dials a VIP and is chosen itself. Source and destination would
 * be one address, which it would not accept, and a bridge sends no frame back by the port
 * it came from. So the VIP takes the client's place, and the frame goes back by its veth.
 *
 * Both addresses are exchanged either way, which changes no sum: only ports do.
 * admit.h chooses the backend and makes the row; this carries packets of rows.
 */
#ifndef FAIRLEAD_HAIRPIN_H
#define FAIRLEAD_HAIRPIN_H

#include "admit.h"

static __always_inline int swap_addresses(struct __sk_buff *skb, const struct packet *pkt,
					  const bool v6)
{
	if (v6) {
		struct addr pair[2] = {pkt->dst, pkt->src};

		return bpf_skb_store_bytes(skb, ETH_HLEN + 8, pair, sizeof(pair), 0);
	}
	__be32 pair[2] = {pkt->dst.words[3], pkt->src.words[3]};

	return bpf_skb_store_bytes(skb, ETH_HLEN + 12, pair, sizeof(pair), 0);
}

/* hairpin_turn() - translate a packet and send it back to the container. */
static __always_inline int hairpin_turn(struct __sk_buff *skb, const struct packet *pkt,
					const struct flow *row, __be16 sport, __be16 dport,
					const enum dir dir, const bool v6)
{
	if (nat(skb, pkt, SIDE_SOURCE, &pkt->src, sport, dport, v6) != DROP_NONE ||
	    swap_addresses(skb, pkt, v6) || turn_ethernet(skb))
		return drop(DROP_REWRITE);
	observe_packet(skb, pkt, row, dir);
	count_traffic(skb, pkt, row->backend, dir);
	return send_back(skb);
}

/*
 * hairpin() - the verdict on a packet of a hairpin's row, of either direction.
 *
 * What it works on is not on the stack, but where admission has had it.
 */
static __always_inline int hairpin(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm = admission_of();
	union flow_key *key;
	struct packet *pkt;
	struct flow *row;
	bool embryonic;
	__be32 id;

	if (!adm)
		return VERDICT_DROP;
	pkt = &adm->pkt;
	key = &adm->key;
	parse_first(skb, pkt, &id, v6);
	if (pkt->kind != PACKET_FLOW)
		return VERDICT_DROP;
	flow_key_set(key, &pkt->src, pkt->sport, pkt->protocol, v6);
	overflow_key_of(&adm->from, pkt);
	row = flow_via_overflow(pkt, &adm->from, key, &embryonic, v6);
	if (row && (row->flags & FLOW_HAIRPIN))
		return hairpin_turn(skb, pkt, row, flow_key_port(key, v6), row->backend_port,
				    DIR_IN, v6);
	flow_key_set(key, &pkt->dst, pkt->dport, pkt->protocol, v6);
	row = flow_find(key, &embryonic, v6);
	if (!row || !(row->flags & FLOW_HAIRPIN))
		return drop(DROP_NO_FLOW);
	flow_touch(row, pkt, DIR_OUT, now_jiffies(), v6);
	flow_repair(pkt, row, v6);
	return hairpin_turn(skb, pkt, row, row->vip_port, row->client_port, DIR_OUT, v6);
}

__noinline int hairpin4(struct __sk_buff *skb)
{
	return hairpin(skb, false);
}

__noinline int hairpin6(struct __sk_buff *skb)
{
	return hairpin(skb, true);
}

#endif
