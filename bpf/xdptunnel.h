/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tunnels in XDP: packets of known flows into them, and packets of other nodes' agents
 * out of them.
 */
#ifndef FAIRLEAD_XDPTUNNEL_H
#define FAIRLEAD_XDPTUNNEL_H

#include "count.h"
#include "edge.h"
#include "encap.h"
#include "event.h"
#include "flow.h"
#include "route.h"
#include "select.h"
#include "via.h"
#include "xdpnat.h"

static __always_inline int xdp_drop(enum drop_reason reason)
{
	count_drop(reason, PATH_XDP);
	drop_note(reason);
	return XDP_DROP;
}

/* note() - pass the packet on with a word for the tc program behind. */
static __always_inline int note(struct xdp_md *ctx, __u32 step)
{
	struct edge_note *note;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*note)))
		return xdp_drop(DROP_REWRITE);
	note = (void *)(long)ctx->data_meta;
	if ((void *)(note + 1) > (void *)(long)ctx->data)
		return xdp_drop(DROP_REWRITE);
	note->magic = EDGE_MAGIC;
	note->step = step;
	return XDP_PASS;
}

/* xdp_encapsulate() - @bytes: of the packet, from its IP header on. 0, or a negative errno. */
static __always_inline int xdp_encapsulate(struct xdp_md *ctx, const struct addr *from,
					   const struct addr *to, __u32 bytes, const bool v6)
{
	const int overhead = v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -overhead))
		return -1;
	eth = (void *)(long)ctx->data;
	if ((void *)eth + ETH_HLEN + overhead > (void *)(long)ctx->data_end)
		return -1;
	/* Sender and receiver of the frame are not known yet; tc takes it for the host's own
	 * by its old destination. */
	if ((void *)eth + ETH_HLEN + overhead + ETH_HLEN <= (void *)(long)ctx->data_end)
		__builtin_memmove(eth, (void *)eth + overhead, sizeof(*eth));
	if (v6)
		outer_ip6((void *)(eth + 1), from, to, bytes);
	else
		outer_ip4((void *)(eth + 1), from, to, bytes);
	return 0;
}

static __always_inline int xdp_ttl_decrement(struct xdp_md *ctx, const bool v6)
{
	void *ip = (void *)(long)ctx->data + ETH_HLEN;
	__u16 was;

	if (ip + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES) > (void *)(long)ctx->data_end)
		return -1;
	if (v6) {
		((struct ipv6hdr *)ip)->hop_limit--;
		return 0;
	}
	was = *(__u16 *)(ip + 8);
	((struct iphdr *)ip)->ttl--;
	((struct iphdr *)ip)->check =
		csum_adjust(((struct iphdr *)ip)->check, (__u16)~was + (__u64) * (__u16 *)(ip + 8));
	return 0;
}

/* transmit() - out of the interface it came by, to the neighbour that was found. */
static __always_inline int transmit(struct xdp_md *ctx, const struct bpf_fib_lookup *fib)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return xdp_drop(DROP_REWRITE);
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	return XDP_TX;
}

/*
 * send_beyond() - the verdict on a packet of a known flow to a backend beyond this node.
 * @port:   of the backend
 * @ticket: of the flow; 0: none
 *
 * Where the neighbour is known and on the same wire, it is done here. Else tc resolves
 * it: a tunnelled packet needs no more than routing; one that stays as it was dialled is
 * decided upon there, from the same flow. The frame is read again only where it is
 * translated.
 */
static __always_inline int send_beyond(struct xdp_md *ctx, __u32 backend_id, __be16 port,
				       __u32 ticket, const bool v6)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &backend_id);
	struct via *via = via_of(backend_id);
	__u32 bytes = xdp_bytes(ctx);
	struct bpf_fib_lookup fib = {};
	const struct addr *to;
	struct packet pkt;
	__u32 overhead;
	struct addr own;
	long result;

	if (!via || !backend)
		return note(ctx, EDGE_DECIDE);
	to = (const void *)via->addr;
	overhead = via_overhead(via, v6);
	if (!own_address(&own, v6))
		return xdp_drop(DROP_NO_ROUTE);
	if (via->kind == VIA_DSR_MAC)
		to = (const void *)backend->addr;
	result = route_lookup(ctx, ctx->ingress_ifindex, &fib, &own, to, bytes + overhead, v6);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return note(ctx, EDGE_TOO_BIG + fib.mtu_result - overhead);
	if (!is_way(result))
		return xdp_drop(DROP_NO_ROUTE);
	if (result == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex != ctx->ingress_ifindex)
		result = BPF_FIB_LKUP_RET_NO_NEIGH;
	if (via->kind == VIA_DSR_MAC) {
		if (result != BPF_FIB_LKUP_RET_SUCCESS)
			return note(ctx, EDGE_DECIDE);
		if (xdp_ttl_decrement(ctx, v6))
			return xdp_drop(DROP_REWRITE);
		count_packet(backend_id, PATH_XDP, DIR_IN, 1, bytes);
		observe_traffic(ticket, DIR_IN, 1, bytes);
		return transmit(ctx, &fib);
	}
	if (via->kind == VIA_ENTRY) {
		__builtin_memset(&pkt, 0, sizeof(pkt));
		xdp_parse(ctx, &pkt, v6);
		if (pkt.kind != PACKET_FLOW ||
		    xdp_nat(ctx, &pkt, (const struct addr *)backend->addr, pkt.sport, port, v6) !=
			    DROP_NONE)
			return xdp_drop(DROP_REWRITE);
	}
	if (xdp_encapsulate(ctx, &own, to, bytes, v6))
		return xdp_drop(DROP_REWRITE);
	count_packet(backend_id, PATH_XDP, DIR_IN, 1, bytes);
	observe_traffic(ticket, DIR_IN, 1, bytes);
	return result == BPF_FIB_LKUP_RET_SUCCESS ? transmit(ctx, &fib) : note(ctx, EDGE_ROUTE);
}

__noinline int send_beyond4(struct xdp_md *ctx, __u32 backend_id, __u32 port, __u32 ticket)
{
	return send_beyond(ctx, backend_id, port, ticket, false);
}

__noinline int send_beyond6(struct xdp_md *ctx, __u32 backend_id, __u32 port, __u32 ticket)
{
	return send_beyond(ctx, backend_id, port, ticket, true);
}

/* is_tunnel() - a packet to this node itself, with another of the same family in it. */
static __always_inline bool is_tunnel(const struct packet *pkt, const bool v6)
{
	struct addr own;

	return pkt->protocol == (v6 ? IPPROTO_IPV6 : IPPROTO_IPIP) && own_address(&own, v6) &&
	       addr_equal(own.words, pkt->dst.words, v6);
}

/* may_be_about_tunnel() - an error to this node itself that a tunnel of its own may have met. */
static __always_inline bool may_be_about_tunnel(struct xdp_md *ctx, const struct packet *pkt,
						const bool v6)
{
	const __u8 *icmp =
		(void *)(long)ctx->data + ETH_HLEN + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES);
	struct addr own;

	if (pkt->protocol != (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    (const void *)(icmp + 1) > (const void *)(long)ctx->data_end ||
	    *icmp != (v6 ? ICMP6_TOO_BIG : ICMP4_UNREACHABLE))
		return false;
	return own_address(&own, v6) && addr_equal(own.words, pkt->dst.words, v6);
}

static __always_inline int xdp_decapsulate(struct xdp_md *ctx, const bool v6)
{
	const int overhead = v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ethhdr saved;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return -1;
	saved = *eth;
	if (bpf_xdp_adjust_head(ctx, overhead))
		return -1;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return -1;
	*eth = saved;
	return 0;
}

/* returns_here() - is it a reply of a flow that came in by this node? */
static __always_inline bool returns_here(const struct packet *pkt, const bool v6)
{
	struct backend *backend;
	union flow_key key;
	struct flow *row;
	bool embryonic;

	flow_key_set(&key, &pkt->dst, pkt->dport, pkt->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row)
		return false;
	backend = backend_alive(row->backend, row->service, row->incarnation);
	return backend && row->backend_port == pkt->sport &&
	       addr_equal(backend->addr, pkt->src.words, v6);
}

/* leave_tunnel() - the verdict on a packet that a node sent to this one. */
static __always_inline int leave_tunnel(struct xdp_md *ctx, const struct addr *node, const bool v6)
{
	struct entry value = {};
	struct entry_key key;
	struct packet pkt = {};
	struct entry *entry;
	const struct addr *here;
	bool piece;

	if (!is_peer(node))
		return xdp_drop(DROP_PEER);
	if (xdp_decapsulate(ctx, v6))
		return xdp_drop(DROP_MALFORMED);
	xdp_parse(ctx, &pkt, v6);
	if (pkt.kind == PACKET_UNREADABLE || pkt.kind == PACKET_MALFORMED)
		return xdp_drop(DROP_MALFORMED);
	/* An error or a later fragment: of a reply, if it is about a flow of this node. */
	piece = pkt.kind == PACKET_OTHER;
	if (piece && !xdp_first_ports(ctx, &pkt, v6))
		return note(ctx, EDGE_REPLY);
	if (returns_here(&pkt, v6))
		return note(ctx, EDGE_REPLY);
	here = alias_of(&pkt.dst);
	if (here) {
		if (!piece && xdp_nat(ctx, &pkt, here, pkt.sport, pkt.dport, v6) != DROP_NONE)
			return xdp_drop(DROP_REWRITE);
		addr_copy(value.alias, pkt.dst.words);
		addr_copy(pkt.dst.words, here->words);
	}
	entry_key_set(&key, &pkt.src, pkt.sport, &pkt.dst, pkt.dport, pkt.protocol);
	entry = bpf_map_lookup_elem(&entries, &key);
	if (!entry || !addr_equal(entry->node, node->words, v6) ||
	    !addr_equal(entry->alias, value.alias, v6)) {
		addr_copy(value.node, node->words);
		if (bpf_map_update_elem(&entries, &key, &value, BPF_ANY))
			return xdp_drop(DROP_FLOW_TABLE);
	}
	/* A fragment is translated where its ports need not be where they usually are. */
	return note(ctx, here && piece ? EDGE_REPLY : EDGE_ROUTE);
}

__noinline int leave_tunnel4(struct xdp_md *ctx)
{
	struct packet pkt = {};

	xdp_parse(ctx, &pkt, false);
	return leave_tunnel(ctx, &pkt.src, false);
}

__noinline int leave_tunnel6(struct xdp_md *ctx)
{
	struct packet pkt = {};

	xdp_parse(ctx, &pkt, true);
	return leave_tunnel(ctx, &pkt.src, true);
}

#endif
