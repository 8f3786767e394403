// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Container traffic: both directions of the host side of a container's veth.
 *
 * Here is the fast path, one hash lookup for a packet of a known flow; admit.h has
 * the slow one. Traffic that is none of ours leaves byte for byte as it came.
 */
#include "admit.h"
#include "arp.h"
#include "edgefragment.h"
#include "fragment.h"
#include "hairpin.h"
#include "icmp.h"
#include "icmperror.h"
#include "loss.h"
#include "nd.h"
#include "nic.h"
#include "refuse.h"
#include "tcsnat.h"
#include "tunnelerror.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* answer_vip() - the verdict on a packet to a VIP that is of no TCP or UDP flow. */
static __always_inline int answer_vip(struct __sk_buff *skb, const bool v6)
{
	struct packet pkt;

	parse(skb, &pkt, v6);
	if (pkt.kind != PACKET_OTHER)
		return drop(DROP_MALFORMED);
	if (!is_echo(skb, &pkt, v6))
		return is_icmp_error(skb, &pkt, v6) ? VERDICT_ERROR : drop(DROP_PROTOCOL);
	if (echo_reply(skb, &pkt, v6))
		return drop(DROP_REWRITE);
	count_event(EVENT_ECHO, packet_path);
	return send_back(skb);
}

__noinline int answer_vip4(struct __sk_buff *skb)
{
	return answer_vip(skb, false);
}

__noinline int answer_vip6(struct __sk_buff *skb)
{
	return answer_vip(skb, true);
}

__noinline int answer_solicitation(struct __sk_buff *skb)
{
	struct packet pkt;

	parse(skb, &pkt, true);
	return pkt.kind == PACKET_OTHER ? answer_nd(skb, &pkt) : VERDICT_PASS;
}

__noinline int answer_request(struct __sk_buff *skb)
{
	return answer_arp(skb);
}

/*
 * carry_known() - the fast path of a client's packet.
 * @key:     of any content; the packet's own afterwards
 * @verdict: usable only when the result is true
 * @missing: of flow_known()
 *
 * Returns false when the packet is for the slow path, or none of ours.
 */
static __always_inline bool carry_known(struct __sk_buff *skb, const struct packet *pkt,
					union flow_key *key, int *verdict, bool *missing,
					const bool v6)
{
	__u32 now = now_jiffies();
	struct backend *backend;
	struct flow *row;

	row = flow_known(pkt, key, now, &backend, missing, v6);
	if (!row)
		return false;
	flow_touch(row, pkt, DIR_IN, now, v6);
	*verdict = backend ? carry_in(skb, pkt, row, backend, pkt->sport, v6) : VERDICT_PASS;
	return true;
}

/*
 * datagram_begins() - is there no row of a UDP packet's key, given that flows has none?
 * @before: promotions_count() before that was asked
 *
 * Asked at once, before whether the packet is ours: the lookups of both tables wait for
 * memory together then, a sixth of what a new flow costs. The order would miss a row that
 * moves, so moves are counted.
 */
static __always_inline bool datagram_begins(const struct packet *pkt, const union flow_key *key,
					    __u32 before, const bool v6)
{
	return !embryonic_lookup(key, v6) && promotions_count(pkt->sport) == before;
}

/*
 * from_container_ip() - the verdict on a container's packet, or what decides it.
 *
 * Small enough to be part of the program: on some processors each return from a function
 * costs as much as a lookup.
 */
static __always_inline int from_container_ip(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm;
	union flow_key key;
	struct packet pkt;
	struct vip *vip;
	bool missing;
	int verdict;
	bool vacant;
	__u32 moves;

	parse(skb, &pkt, v6);
	if (pkt.kind == PACKET_UNREADABLE)
		return VERDICT_PASS;
	if (pkt.kind != PACKET_FLOW)
		return admission_open(&pkt, false) ? VERDICT_UNKNOWN : VERDICT_DROP;
	moves = pkt.protocol == IPPROTO_UDP ? promotions_count(pkt.sport) : 0;
	if (carry_known(skb, &pkt, &key, &verdict, &missing, v6))
		return verdict;
	vacant = missing && pkt.protocol == IPPROTO_UDP && datagram_begins(&pkt, &key, moves, v6);
	vip = vip_lookup(network_id, &pkt.dst, v6);
	if (!vip)
		return VERDICT_PASS;
	if (pkt.protocol != IPPROTO_UDP)
		vacant = flow_absent(&key, v6);
	adm = admission_open(&pkt, vacant);
	if (!adm)
		return VERDICT_DROP;
	/*
	 * Where containers serve each other, most packets to a backend are replies. Those to the
	 * node itself may be a hairpin's, and at the edge of a flow of snat, which is looked for
	 * first.
	 */
	if (network_id && vacant && !(vip->flags & (VIP_BALANCED | VIP_NODE)) &&
	    !starts_flow(&pkt) && !overflow_marked(pkt.sport))
		return VERDICT_PASS;
	adm->vip = *vip;
	if (!network_id || !vacant || !begins_plainly(&pkt))
		return VERDICT_ADMIT;
	admission_begin(adm, &key, v6);
	return VERDICT_START;
}

/* sort_out() - what becomes of a packet that is neither TCP nor UDP, or not whole. */
static __always_inline int sort_out(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm = admission_of();
	const struct packet *pkt;
	struct vip *vip;

	if (!adm)
		return VERDICT_DROP;
	pkt = &adm->pkt;
	vip = vip_lookup(network_id, &pkt->dst, v6);
	if (v6 && pkt->kind == PACKET_OTHER && is_solicitation(skb, pkt))
		return VERDICT_NEIGHBOUR;
	if (!vip)
		return VERDICT_PASS;
	if (pkt->kind == PACKET_FRAGMENT && (vip->flags & (VIP_BALANCED | VIP_NODE)))
		return VERDICT_FRAGMENT;
	if (vip->flags & VIP_BALANCED)
		return VERDICT_ANSWER;
	return is_icmp(pkt, v6) ? VERDICT_ERROR : VERDICT_PASS;
}

__noinline int sort_out4(struct __sk_buff *skb)
{
	/* Else clang, which sees that IPv4 makes no use of it, passes anything. */
	asm volatile("" : : "r"(skb));
	return sort_out(skb, false);
}

__noinline int sort_out6(struct __sk_buff *skb)
{
	return sort_out(skb, true);
}

__noinline int from_container4(struct __sk_buff *skb)
{
	return from_container_ip(skb, false);
}

__noinline int from_container6(struct __sk_buff *skb)
{
	return from_container_ip(skb, true);
}

/*
 * may_lack_flow() - is this perhaps the reply of a flow that is yet to be copied?
 *
 * Untranslated it would make the client reset a connection that lives.
 */
static __always_inline bool may_lack_flow(const struct packet *pkt, const bool v6)
{
	struct vip *vip;

	if (flows_incomplete < 2 || pkt->protocol != IPPROTO_TCP)
		return false;
	vip = vip_lookup(network_id, &pkt->src, v6);
	return vip && (vip->flags & VIP_BACKEND);
}

/* from_server() - does the packet come from where the flow's packets go? */
static __always_inline bool from_server(const struct flow *row, const struct packet *pkt,
					const bool v6)
{
	struct backend *backend;

	if (row->flags & FLOW_DIRECT)
		return row->vip_port == pkt->sport && flow_dialled(row, &pkt->src, v6);
	backend = backend_alive(row->backend, row->service, row->incarnation);
	return backend && row->backend_port == pkt->sport &&
	       addr_equal(backend->addr, pkt->src.words, v6);
}

/*
 * to_container_ip() - a packet for a container: if it is a backend's reply, make it come
 * from the VIP.
 *
 * @whole: false to leave those of substitute ports, VERDICT_SUBSTITUTED, to a larger frame
 *
 * A row that has been idle too long still serves a reply: its backend answers the
 * very flow that the row describes.
 */
static __always_inline int to_container_ip(struct __sk_buff *skb, const bool whole, const bool v6)
{
	enum drop_reason reason;
	struct backend *backend;
	union flow_key key;
	struct packet pkt;
	struct flow *row;
	struct addr buffer;
	__u32 backend_id;
	bool embryonic;
	bool direct;

	parse(skb, &pkt, v6);
	if (pkt.kind == PACKET_FRAGMENT)
		return VERDICT_FRAGMENT;
	if (pkt.kind != PACKET_FLOW)
		return is_icmp(&pkt, v6) ? VERDICT_ERROR : VERDICT_PASS;
	flow_key_set(&key, &pkt.dst, pkt.dport, pkt.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row)
		return may_lack_flow(&pkt, v6) ? drop(DROP_NO_FLOW) : VERDICT_PASS;
	backend_id = row->backend;
	direct = row->flags & FLOW_DIRECT;
	if (direct) {
		if (row->vip_port != pkt.sport || !flow_dialled(row, &pkt.src, v6))
			return VERDICT_PASS;
	} else {
		backend = backend_alive(backend_id, row->service, row->incarnation);
		if (!backend || row->backend_port != pkt.sport ||
		    !addr_equal(backend->addr, pkt.src.words, v6))
			return VERDICT_PASS;
	}
	if (!network_id && (row->flags & FLOW_TOLD)) {
		chosen_set(skb, backend_id);
		return VERDICT_RESET;
	}
	if (row->client_port != pkt.dport) {
		if (!whole)
			return VERDICT_SUBSTITUTED;
		flow_repair(&pkt, row, v6);
	}
	flow_touch(row, &pkt, DIR_OUT, now_jiffies(), v6);
	observe_packet(skb, &pkt, row, DIR_OUT);
	reason = nat(skb, &pkt, SIDE_SOURCE, flow_vip(row, &buffer, v6), row->vip_port,
		     row->client_port, v6);
	if (reason != DROP_NONE)
		return drop(reason);
	if (!direct)
		count_traffic(skb, &pkt, backend_id, DIR_OUT);
	return VERDICT_PASS;
}

/* decide() - let the slow path that a family's fast path named decide. */
static __always_inline int decide(struct __sk_buff *skb, int verdict, const bool v6)
{
	if (verdict == VERDICT_UNKNOWN)
		verdict = v6 ? sort_out6(skb) : sort_out4(skb);
	if (verdict == VERDICT_FRAGMENT)
		verdict = v6 ? fragment_in6(skb) : fragment_in4(skb);
	if (verdict == VERDICT_ADMIT)
		verdict = v6 ? admit6(skb) : admit4(skb);
	if (verdict == VERDICT_START)
		verdict = v6 ? start6(skb) : start4(skb);
	if (verdict == VERDICT_HAIRPIN)
		return v6 ? hairpin6(skb) : hairpin4(skb);
	if (verdict == VERDICT_ANSWER)
		verdict = v6 ? answer_vip6(skb) : answer_vip4(skb);
	else if (v6 && verdict == VERDICT_NEIGHBOUR)
		verdict = answer_solicitation(skb);
	if (verdict == VERDICT_ERROR)
		return v6 ? error_to_backend6(skb) : error_to_backend4(skb);
	if (verdict < VERDICT_REFUSE)
		return verdict;
	verdict -= VERDICT_REFUSE;
	if (watches(WATCH_LOSSES))
		v6 ? tell_packet6(skb, verdict, true) : tell_packet4(skb, verdict, true);
	return v6 ? refuse6(skb, verdict) : refuse4(skb, verdict);
}

/*
 * fragment_back() - the verdict on a fragment for a container, of a reply or of what is
 * none of ours: only a flow's first fragment is remembered.
 */
static __always_inline int fragment_back(struct __sk_buff *skb, const bool v6)
{
	union flow_key key;
	struct packet pkt;
	struct addr buffer;
	struct flow *row;
	bool embryonic;
	__be32 id;
	bool first;

	parse_first(skb, &pkt, &id, v6);
	first = pkt.kind == PACKET_FLOW;
	if (!first && (pkt.kind != PACKET_FRAGMENT || !fragment_recall(&pkt, id)))
		return VERDICT_PASS;
	flow_key_set(&key, &pkt.dst, pkt.dport, pkt.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !from_server(row, &pkt, v6))
		return VERDICT_PASS;
	if (!first) {
		if (fragment_readdress(skb, &pkt, SIDE_SOURCE, flow_vip(row, &buffer, v6), v6))
			return drop(DROP_REWRITE);
	} else {
		fragment_remember(&pkt, id);
		flow_touch(row, &pkt, DIR_OUT, now_jiffies(), v6);
		if (row->client_port != pkt.dport)
			flow_repair(&pkt, row, v6);
		if (nat(skb, &pkt, SIDE_SOURCE, flow_vip(row, &buffer, v6), row->vip_port,
			row->client_port, v6) != DROP_NONE)
			return drop(DROP_REWRITE);
	}
	if (!(row->flags & FLOW_DIRECT))
		count_traffic(skb, &pkt, row->backend, DIR_OUT);
	return VERDICT_PASS;
}

__noinline int fragment_back4(struct __sk_buff *skb)
{
	return fragment_back(skb, false);
}

__noinline int fragment_back6(struct __sk_buff *skb)
{
	return fragment_back(skb, true);
}

__noinline int translate_reply4(struct __sk_buff *skb)
{
	return to_container_ip(skb, true, false);
}

__noinline int translate_reply6(struct __sk_buff *skb)
{
	return to_container_ip(skb, true, true);
}

/* decide_back() - the same for what goes to a container, or to a client outside. */
static __always_inline int decide_back(struct __sk_buff *skb, int verdict, const bool v6)
{
	if (verdict == VERDICT_SUBSTITUTED)
		return v6 ? translate_reply6(skb) : translate_reply4(skb);
	if (verdict == VERDICT_ERROR)
		return v6 ? error_to_client6(skb) : error_to_client4(skb);
	if (verdict == VERDICT_FRAGMENT)
		return v6 ? fragment_back6(skb) : fragment_back4(skb);
	return verdict;
}

/* finish() - what a program ends with: what came up is told to those who watch. */
static __always_inline int finish(struct __sk_buff *skb, int verdict, const bool v6)
{
	enum drop_reason reason;

	if (!*(volatile __u32 *)&tellers)
		return verdict;
	tell_end();
	tell_opened();
	reason = drop_noted();
	if (reason != DROP_NONE)
		v6 ? tell_packet6(skb, reason, false) : tell_packet4(skb, reason, false);
	return verdict;
}

/* from_container() - ingress of the host side: what the container sends. */
SEC("tc")
int from_container(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return finish(skb, decide(skb, from_container_ip(skb, false), false), false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return finish(skb, decide(skb, from_container_ip(skb, true), true), true);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_request(skb);
	return VERDICT_PASS;
}

/* to_container() - egress of the host side: what the container gets. */
SEC("tc")
int to_container(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return finish(skb, decide_back(skb, to_container_ip(skb, false, false), false),
			      false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return finish(skb, decide_back(skb, to_container_ip(skb, false, true), true), true);
	return VERDICT_PASS;
}

/* answer_too_big() - the verdict on a packet that would not fit its tunnel. */
static __always_inline int answer_too_big(struct __sk_buff *skb, __u32 mtu, const bool v6)
{
	count_drop(DROP_TOO_BIG, packet_path);
	if (v6 ? tell_too_big6(skb, mtu) : tell_too_big4(skb, mtu))
		return VERDICT_DROP;
	return send_back(skb);
}

/*
 * decide_outside() - the verdict on what came in by a NIC: as for a container's packet, and
 * between those steps the ones of snat.
 */
static __always_inline int decide_outside(struct __sk_buff *skb, const bool v6)
{
	int verdict = v6 ? snat_back6(skb) : snat_back4(skb);

	if (verdict == VERDICT_NEXT) {
		verdict = v6 ? from_container6(skb) : from_container4(skb);
		if (verdict == VERDICT_UNKNOWN)
			verdict = v6 ? sort_out6(skb) : sort_out4(skb);
		if (verdict == VERDICT_FRAGMENT)
			verdict = v6 ? snat_follow6(skb) : snat_follow4(skb);
		if (verdict == VERDICT_FRAGMENT)
			verdict = v6 ? fit6(skb) : fit4(skb);
		if (verdict == VERDICT_FRAGMENT)
			verdict = v6 ? fragment_in6(skb) : fragment_in4(skb);
		if (verdict == VERDICT_ADMIT)
			verdict = v6 ? snat_in6(skb) : snat_in4(skb);
		if (verdict == VERDICT_ANSWER || verdict == VERDICT_ERROR)
			verdict = v6 ? snat_error6(skb, verdict) : snat_error4(skb, verdict);
	}
	if (verdict != VERDICT_TOO_BIG)
		verdict = decide(skb, verdict, v6);
	if (verdict == VERDICT_SNAT)
		verdict = v6 ? snat_begin6(skb) : snat_begin4(skb);
	return verdict == VERDICT_TOO_BIG ? answer_too_big(skb, chosen_get(skb), v6) : verdict;
}

/*
 * reset_server() - the verdict on a packet of a backend whose flow is over.
 * @flags: of bpf_redirect(): which way its own interface leads back
 */
static __always_inline int reset_server(struct __sk_buff *skb, __u64 flags, const bool v6)
{
	int verdict = v6 ? reset_server6(skb) : reset_server4(skb);

	return verdict == VERDICT_ROUTE ? bpf_redirect(skb->ifindex, flags) : verdict;
}

/* take_reply() - the verdict on what came out of a tunnel, if it is a reply. */
static __always_inline int take_reply(struct __sk_buff *skb, const bool v6)
{
	int verdict = v6 ? translate_reply6(skb) : translate_reply4(skb);

	if (verdict != VERDICT_RESET)
		return decide_back(skb, verdict, v6);
	verdict = v6 ? reset_server6(skb) : reset_server4(skb);
	if (verdict != VERDICT_ROUTE)
		return verdict;
	return v6 ? send_reset6(skb) : send_reset4(skb);
}

/* take_step() - do to a packet what XDP noted. */
static __always_inline int take_step(struct __sk_buff *skb, __u32 step, const bool v6)
{
	int verdict = VERDICT_ROUTE;

	chosen_set(skb, 0);
	if (step >= EDGE_TOO_BIG)
		return answer_too_big(skb, step - EDGE_TOO_BIG, v6);
	if (step == EDGE_ERROR) {
		step = v6 ? tunnel_error6(skb) : tunnel_error4(skb);
		if (!step)
			return drop(DROP_REWRITE);
	}
	if (step == EDGE_REPLY)
		verdict = take_reply(skb, v6);
	else if (step != EDGE_ROUTE)
		verdict = decide_outside(skb, v6);
	if (verdict == VERDICT_ROUTE && chosen_get(skb))
		verdict = v6 ? send_away6(skb) : send_away4(skb);
	if (step == EDGE_REPLY && verdict == VERDICT_PASS)
		verdict = v6 ? come_home6(skb) : come_home4(skb);
	if (verdict != VERDICT_ROUTE)
		return verdict;
	return v6 ? route6(skb) : route4(skb);
}

/*
 * from_edge() - ingress of a NIC: what the XDP program before it left to do.
 *
 * Without such a program, which a NIC may refuse, this is all there is of the edge.
 */
SEC("tc")
int from_edge(struct __sk_buff *skb)
{
	__u32 step = note_of(skb);

	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_request(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (xdp_ahead && !step)
			return VERDICT_PASS;
		return finish(skb, take_step(skb, step, false), false);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (xdp_ahead && !step && !is_neighbour_message(skb))
			return VERDICT_PASS;
		return finish(skb, take_step(skb, step, true), true);
	}
	return VERDICT_PASS;
}

/*
 * go_back() - translate back what leaves by a NIC. An error about what a client of another
 * node had sent, the stack's own too, goes there; one too big for that tunnel is answered by
 * nobody, as it is an error itself (RFC 1122 3.2.2).
 */
static __always_inline int go_back(struct __sk_buff *skb, const bool v6)
{
	int verdict = v6 ? translate_reply6(skb) : translate_reply4(skb);

	if (verdict == VERDICT_ERROR) {
		int home = v6 ? send_home6(skb, 0) : send_home4(skb, 0);

		if (home != VERDICT_PASS)
			return home == VERDICT_TOO_BIG ? drop(DROP_TOO_BIG) : home;
	}
	if (verdict == VERDICT_RESET)
		return reset_server(skb, BPF_F_INGRESS, v6);
	return decide_back(skb, verdict, v6);
}

/* to_edge() - egress of a NIC: replies that came there through the stack. */
SEC("tc")
int to_edge(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return finish(skb, go_back(skb, false), false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return finish(skb, go_back(skb, true), true);
	return VERDICT_PASS;
}

/* has_way_out() - does routing send the packet, as it is now, to the outside? */
__noinline int has_way_out(struct __sk_buff *skb, __u64 piece, int v6)
{
	struct bpf_fib_lookup fib = {};

	return v6 ? find_way_out(skb, &fib, piece, true) : find_way_out(skb, &fib, piece, false);
}

/*
 * leave() - send a backend's reply to the outside on its way, past netfilter.
 *
 * The way is looked up twice rather than kept: it would lie on the stack below the
 * translation's, and the verifier of 6.1 adds them up. Once translated, the packet must
 * not go through the stack, which takes a published port's reply for a martian: it comes
 * from the node's own address.
 */
static __always_inline int leave(struct __sk_buff *skb, const bool v6)
{
	int verdict = v6 ? send_home6(skb, 0) : send_home4(skb, 0);
	__u64 piece = 0;

	if (verdict == VERDICT_FRAGMENT) {
		piece = v6 ? reply_piece6(skb) : reply_piece4(skb);
		if (!piece)
			return VERDICT_PASS;
		verdict = v6 ? send_home6(skb, piece) : send_home4(skb, piece);
	}
	if (verdict == VERDICT_TOO_BIG)
		return answer_too_big(skb, chosen_get(skb), v6);
	if (verdict != VERDICT_PASS)
		return verdict;
	if (!has_way_out(skb, piece, v6)) {
		if (!(v6 ? is_rejoined6(skb) : is_rejoined4(skb)))
			return VERDICT_PASS;
		return v6 ? translate_reply6(skb) : translate_reply4(skb);
	}
	verdict = v6 ? translate_reply6(skb) : translate_reply4(skb);
	if (verdict == VERDICT_FRAGMENT)
		verdict = v6 ? fragment_back6(skb) : fragment_back4(skb);
	if (verdict != VERDICT_PASS)
		return verdict;
	return v6 ? route6(skb) : route4(skb);
}

/* leave_or_reset() - the verdict on what leaves a network. */
static __always_inline int leave_or_reset(struct __sk_buff *skb, const bool v6)
{
	int verdict = leave(skb, v6);

	if (verdict == VERDICT_RESET)
		return reset_server(skb, 0, v6);
	return decide_back(skb, verdict, v6);
}

/* from_bridge() - ingress of a bridge, or of a routed container: what leaves its network. */
SEC("tc")
int from_bridge(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return finish(skb, leave_or_reset(skb, false), false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return finish(skb, leave_or_reset(skb, true), true);
	return VERDICT_PASS;
}
