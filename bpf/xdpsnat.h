/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets of known snat flows in XDP, both directions. What begins a flow, and a client's
 * second packet, are tc's (tcsnat.h).
 */
#ifndef FAIRLEAD_XDPSNAT_H
#define FAIRLEAD_XDPSNAT_H

#include "snat.h"
#include "xdptunnel.h"

/*
 * Beyond the verdicts of XDP: snat_wire() decides. Not called from the first step, or the
 * verifier of 6.1 would add up both stacks.
 */
#define WIRE_SNAT 0x100	     /* the destination is none of ours */
#define WIRE_SNAT_OURS 0x101 /* it is; what is of no flow is tc's */

/* snat_send() - the verdict on a packet that gets another source and destination. */
static __always_inline int snat_send(struct xdp_md *ctx, const struct packet *pkt,
				     const struct flow *row, const struct addr *from,
				     const struct addr *to, __be16 sport, __be16 dport,
				     const enum dir dir, const bool v6)
{
	__u32 bytes = xdp_bytes(ctx);
	struct bpf_fib_lookup fib = {};
	long result;

	result = route_lookup(ctx, ctx->ingress_ifindex, &fib, from, to, bytes, v6);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return note(ctx, EDGE_TOO_BIG + fib.mtu_result);
	if (!is_way(result))
		return xdp_drop(DROP_NO_ROUTE);
	if (row->flags & FLOW_WATCHED)
		observe_traffic(row->observed, dir, 1, bytes);
	if (xdp_nat_both(ctx, pkt, from, to, sport, dport, v6) != DROP_NONE)
		return xdp_drop(DROP_REWRITE);
	count_packet(row->backend, PATH_XDP, dir, 1, bytes);
	if (result != BPF_FIB_LKUP_RET_SUCCESS || fib.ifindex != ctx->ingress_ifindex)
		return note(ctx, EDGE_ROUTE);
	if (xdp_ttl_decrement(ctx, v6))
		return xdp_drop(DROP_REWRITE);
	return transmit(ctx, &fib);
}

/* snat_back() - a backend's packet. @verdict: usable only when the result is true */
static __always_inline bool snat_wire_back(struct xdp_md *ctx, const struct packet *pkt,
					   int *verdict, const bool v6)
{
	struct snat_flow *row;
	struct snat_key key;
	bool embryonic;

	snat_key_of_reply(&key, pkt, v6);
	row = snat_find(&key, &embryonic);
	if (!row || !snat_alive(row))
		return false;
	snat_reply(&key, row, pkt);
	*verdict = snat_send(ctx, pkt, &row->flow, (const struct addr *)row->vip,
			     (const struct addr *)row->client, row->flow.vip_port,
			     row->flow.client_port, DIR_OUT, v6);
	return true;
}

/* snat_wire_in() - a client's packet. @verdict: usable only when the result is true */
static __always_inline bool snat_wire_in(struct xdp_md *ctx, const struct packet *pkt, int *verdict,
					 const bool v6)
{
	__u32 now = now_jiffies();
	struct detour *way = detour_of();
	struct snat_flow *row;
	struct snat_key *to;
	struct snat_key key;

	if (!way)
		return false;
	overflow_key_of(&way->from, pkt);
	to = bpf_map_lookup_elem(&snat_clients, &way->from);
	if (!to)
		return false;
	key = *to;
	row = bpf_map_lookup_elem(&snats, &key);
	if (!row || !snat_of(row, pkt, v6) || flow_reopened(&row->flow, pkt))
		return false;
	if (flow_is_behind(&row->flow, now) && flow_expired(&row->flow, pkt->protocol, now))
		return false;
	if (!snat_alive(row))
		return false;
	flow_touch(&row->flow, pkt, DIR_IN, now, true);
	*verdict = snat_send(ctx, pkt, &row->flow, (const struct addr *)key.source,
			     (const struct addr *)key.backend, key.source_port, key.backend_port,
			     DIR_IN, v6);
	return true;
}

static __always_inline int snat_wire(struct xdp_md *ctx, int step, const bool v6)
{
	struct packet pkt = {};
	int verdict;

	xdp_parse(ctx, &pkt, v6);
	if (pkt.kind != PACKET_FLOW)
		return XDP_PASS;
	if (is_snat_port(pkt.dport) && snat_wire_back(ctx, &pkt, &verdict, v6))
		return verdict;
	if (step != WIRE_SNAT_OURS)
		return XDP_PASS;
	return snat_wire_in(ctx, &pkt, &verdict, v6) ? verdict : note(ctx, EDGE_DECIDE);
}

__noinline int snat_wire4(struct xdp_md *ctx, int step)
{
	return snat_wire(ctx, step, false);
}

__noinline int snat_wire6(struct xdp_md *ctx, int step)
{
	return snat_wire(ctx, step, true);
}

#endif
