// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The node's edge: packets from outside, as the NIC has them.
 *
 * Here is the fast path, one hash lookup for a packet of a known flow. Whatever else is
 * addressed to us goes on, with a note, to the tc program of the NIC, which decides as it
 * does for containers. Traffic that is none of ours leaves byte for byte as it came.
 */
#include "count.h"
#include "edge.h"
#include "flow.h"
#include "loss.h"
#include "select.h"
#include "vip.h"
#include "xdpnat.h"
#include "xdpparse.h"
#include "xdpsnat.h"
#include "xdptunnel.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int carry(struct xdp_md *ctx, const struct packet *pkt,
				 const struct flow *row, const struct backend *backend,
				 const bool v6)
{
	__u64 bytes = xdp_bytes(ctx);
	__u32 backend_id = row->backend;
	struct via *via = via_of(backend_id);
	enum drop_reason reason;

	if (via && via->kind != VIA_SNAT)
		return v6 ? send_beyond6(ctx, backend_id, row->backend_port, row->observed)
			  : send_beyond4(ctx, backend_id, row->backend_port, row->observed);
	if (row->flags & FLOW_WATCHED)
		observe_traffic(row->observed, DIR_IN, 1, bytes);
	reason = xdp_nat(ctx, pkt, (const struct addr *)backend->addr, pkt->sport,
			 row->backend_port, v6);
	if (reason != DROP_NONE)
		return xdp_drop(reason);
	count_packet(backend_id, PATH_XDP, DIR_IN, 1, bytes);
	return note(ctx, EDGE_ROUTE);
}

/*
 * carry_known() - the fast path.
 * @verdict: usable only when the result is true
 */
static __always_inline bool carry_known(struct xdp_md *ctx, const struct packet *pkt, int *verdict,
					const bool v6)
{
	__u32 now = now_jiffies();
	struct backend *backend;
	union flow_key key;
	struct flow *row;
	bool missing;

	row = flow_known(pkt, &key, now, &backend, &missing, v6);
	if (!row || !backend)
		return false;
	flow_touch(row, pkt, DIR_IN, now, v6);
	*verdict = carry(ctx, pkt, row, backend, v6);
	return true;
}

static __always_inline int edge_ip(struct xdp_md *ctx, const bool v6)
{
	struct packet pkt = {}; /* clang 19 spills what an unreadable packet has left unset */
	struct vip *vip;
	int verdict;

	xdp_parse(ctx, &pkt, v6);
	if (pkt.kind == PACKET_UNREADABLE)
		return XDP_PASS;
	if (pkt.kind == PACKET_FLOW && carry_known(ctx, &pkt, &verdict, v6))
		return verdict;
	if (pkt.kind == PACKET_OTHER && is_tunnel(&pkt, v6))
		return v6 ? leave_tunnel6(ctx) : leave_tunnel4(ctx);
	if (pkt.kind == PACKET_OTHER && may_be_about_tunnel(ctx, &pkt, v6))
		return note(ctx, EDGE_ERROR);
	vip = vip_lookup(network_id, &pkt.dst, v6);
	if (pkt.kind == PACKET_FLOW && (vip || is_snat_port(pkt.dport)))
		return vip ? WIRE_SNAT_OURS : WIRE_SNAT;
	return vip ? note(ctx, EDGE_DECIDE) : XDP_PASS;
}

static __always_inline int tell_frame(struct xdp_md *ctx, __u32 reason, const bool v6)
{
	struct packet pkt = {};

	xdp_parse(ctx, &pkt, v6);
	return tell_loss(&pkt, reason, false, v6);
}

__noinline int tell_frame4(struct xdp_md *ctx, __u32 reason)
{
	return tell_frame(ctx, reason, false);
}

__noinline int tell_frame6(struct xdp_md *ctx, __u32 reason)
{
	return tell_frame(ctx, reason, true);
}

/* finish() - what the program ends with: what came up is told to those who watch. */
static __always_inline int finish(struct xdp_md *ctx, int verdict, const bool v6)
{
	enum drop_reason reason;

	if (!*(volatile __u32 *)&tellers)
		return verdict;
	tell_end();
	reason = drop_noted();
	if (reason != DROP_NONE)
		v6 ? tell_frame6(ctx, reason) : tell_frame4(ctx, reason);
	return verdict;
}

/* from_wire() - what the NIC received. A frame with a VLAN tag is none of ours. */
SEC("xdp")
int from_wire(struct xdp_md *ctx)
{
	const struct ethhdr *eth = (const void *)(long)ctx->data;
	int verdict;

	if ((const void *)(eth + 1) > (const void *)(long)ctx->data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		verdict = edge_ip(ctx, false);
		return finish(ctx, verdict < WIRE_SNAT ? verdict : snat_wire4(ctx, verdict), false);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		verdict = edge_ip(ctx, true);
		return finish(ctx, verdict < WIRE_SNAT ? verdict : snat_wire6(ctx, verdict), true);
	}
	return XDP_PASS;
}
