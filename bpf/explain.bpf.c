// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What would become of a packet, or of a connect(), and why: the programs' own code, compiled
 * so that it writes to no map (readonly.h). Run by the agent on a packet that it makes up.
 *
 * The steps are those of decide() and decide_outside() in tc.bpf.c, up to where the packet
 * leaves; `admissions` and `snat_works` must not be the shared ones, being scratch.
 */
#define READ_ONLY

#include "tc.bpf.c"
#include "sock.h"

static __always_inline void note_flow(const struct packet *pkt, const struct flow *row,
				      enum flow_place place, bool embryonic)
{
	__u32 idle = now_jiffies() - row->last_seen;

	explanation.place = place;
	explanation.embryonic = embryonic;
	explanation.expired = flow_expired(row, pkt->protocol, now_jiffies());
	explanation.alive = (row->flags & FLOW_DIRECT) ||
			    backend_alive(row->backend, row->service, row->incarnation);
	explanation.flow_flags = row->flags;
	explanation.flow_service = row->service;
	explanation.flow_backend = row->backend;
	explanation.backend_port = row->backend_port;
	explanation.idle_jiffies = idle < LONGEST_IDLE ? idle : 0;
	explanation.timeout_jiffies = flow_timeout(row, pkt->protocol);
}

static __always_inline void note_seen(const __be32 addr[4], __be16 port)
{
	addr_copy(explanation.seen_addr, addr);
	explanation.seen_port = port;
}

/* find_flow() - which flow the packet is of, as admit() and snat_in() look for it. */
static __always_inline void find_flow(struct admission *adm, const bool v6)
{
	const struct packet *pkt = &adm->pkt;
	struct snat_work *work = snat_work_of();
	struct snat_flow *snat;
	struct flow *row;
	bool embryonic;

	if (!network_id && work) {
		work->pkt = *pkt;
		snat = snat_row_of(work, &embryonic, v6);
		if (snat) {
			note_flow(pkt, &snat->flow, FLOW_SNAT, embryonic);
			note_seen(work->key.source, work->key.source_port);
			return;
		}
	}
	flow_key_set(&adm->key, &pkt->src, pkt->sport, pkt->protocol, v6);
	row = flow_find(&adm->key, &embryonic, v6);
	if (row && flow_of(row, pkt, v6)) {
		note_flow(pkt, row, FLOW_KEYED, embryonic);
		return;
	}
	explanation.occupied =
		row && place_beside(row, pkt->protocol, now_jiffies()) == PLACE_TAKEN;
	overflow_key_of(&adm->from, pkt);
	row = flow_via_overflow(pkt, &adm->from, &adm->key, &embryonic, v6);
	if (!row)
		return;
	note_flow(pkt, row, FLOW_SUBSTITUTED, embryonic);
	note_seen(row->flags & FLOW_HAIRPIN ? pkt->dst.words : pkt->src.words,
		  flow_key_port(&adm->key, v6));
}

/* find_match() - what the destination is, and whether the client may use it. */
static __always_inline void find_match(const struct admission *adm, const bool v6)
{
	const struct packet *pkt = &adm->pkt;
	struct vip *vip = vip_lookup(network_id, &pkt->dst, v6);
	struct service *svc;
	__be16 port;
	__u32 id;

	explanation.network = network_id;
	if (!vip)
		return;
	explanation.vip = 1;
	explanation.vip_flags = vip->flags;
	explanation.named = !!port_lookup(network_id, &pkt->dst, pkt->dport, pkt->protocol, v6);
	id = vip_service(vip, network_id, &pkt->dst, pkt->dport, pkt->protocol, &port, v6);
	explanation.service = id;
	explanation.backend_port = port;
	svc = bpf_map_lookup_elem(&services, &id);
	explanation.allowed = svc && source_allowed(svc, id, pkt->src.words, v6);
}

static __always_inline int find(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm = admission_of();

	if (!adm)
		return 0;
	__builtin_memset(adm, 0, sizeof(*adm));
	__builtin_memset(&explanation, 0, sizeof(explanation));
	parse(skb, &adm->pkt, v6);
	if (adm->pkt.kind != PACKET_FLOW)
		return 0;
	find_match(adm, v6);
	find_flow(adm, v6);
	return 1;
}

__noinline int find4(struct __sk_buff *skb)
{
	return find(skb, false);
}

__noinline int find6(struct __sk_buff *skb)
{
	return find(skb, true);
}

/* find_way() - where routing sends what has been translated. */
static __always_inline int find_way(struct __sk_buff *skb, const bool v6)
{
	struct bpf_fib_lookup fib = {};
	struct packet pkt;
	int i;

	parse(skb, &pkt, v6);
	explanation.routed = 1;
	explanation.way_result =
		route_lookup(skb, question.ifindex, &fib, &pkt.src, &pkt.dst, 0, v6);
	if (!is_way(explanation.way_result))
		return 0;
	explanation.way_ifindex = fib.ifindex;
	if (fib.family == ADDRESS_FAMILY_6)
		addr_copy(explanation.way_addr, fib.ipv6_dst);
	else
		addr_set4((struct addr *)explanation.way_addr, fib.ipv4_dst);
	for (i = 0; i < ETH_ALEN; i++)
		explanation.way_mac[i] = fib.dmac[i];
	return 1;
}

__noinline int find_way4(struct __sk_buff *skb)
{
	return find_way(skb, false);
}

__noinline int find_way6(struct __sk_buff *skb)
{
	return find_way(skb, true);
}

/* note_choice() - what admission has planned, if the packet came to that. */
static __always_inline void note_choice(void)
{
	const struct admission *adm = admission_of();

	if (!adm)
		return;
	explanation.chosen = adm->row.flow.backend;
	explanation.begins = adm->row.flow.backend != 0;
	explanation.reselects = adm->reselects;
	explanation.stateless = adm->stateless;
}

static __always_inline int carry(struct __sk_buff *skb, const bool v6)
{
	int verdict = v6 ? from_container6(skb) : from_container4(skb);

	if (!network_id && verdict == VERDICT_ADMIT)
		verdict = v6 ? snat_in6(skb) : snat_in4(skb);
	if (verdict == VERDICT_ADMIT)
		verdict = v6 ? admit6(skb) : admit4(skb);
	if (verdict == VERDICT_START) {
		verdict = v6 ? start6(skb) : start4(skb);
		note_choice();
	}
	if (verdict == VERDICT_SNAT)
		verdict = v6 ? snat_begin6(skb) : snat_begin4(skb);
	if (verdict == VERDICT_ROUTE)
		v6 ? find_way6(skb) : find_way4(skb);
	return verdict;
}

/* explain_packet() - of a packet that a container sends, or that comes by a NIC. */
SEC("tc")
int explain_packet(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP) && find4(skb))
		explanation.verdict = carry(skb, false);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6) && find6(skb))
		explanation.verdict = carry(skb, true);
	return VERDICT_PASS;
}

/* ask_socket() - the verdict of connect(), for whom it would be a new connection. */
static __always_inline enum drop_reason ask_socket(const struct packet *pkt)
{
	struct caller caller = {.netns = question.netns, .socket = question.socket};
	struct endpoint to = {.port = pkt->dport, .protocol = pkt->protocol};
	struct backend *backend = NULL;
	struct match match = {};
	enum drop_reason reason;
	struct netns *netns;
	struct vip *vip;
	__u32 id = 0;

	copy_addr(to.addr, pkt->dst.words);
	netns = bpf_map_lookup_elem(&netnses, &caller.netns);
	if (!netns)
		return DROP_NONE;
	reason = find_service(netns, &to, &match);
	explanation.network = match.network;
	vip = match.network ? vip_of(match.network, &to) : NULL;
	if (vip) {
		explanation.vip = 1;
		explanation.vip_flags = vip->flags;
		explanation.named = !!port_of(match.network, &to);
	}
	if (reason || !match.service)
		return reason;
	explanation.service = match.service;
	explanation.backend_port = match.target_port;
	reason = choose(&caller, &match, &to, 0, &id, &backend);
	explanation.allowed = 1;
	if (!reason && backend) {
		explanation.chosen = id;
		explanation.begins = 1;
	}
	return reason;
}

/* explain_socket() - of a connect() to where the packet goes. */
SEC("tc")
int explain_socket(struct __sk_buff *skb)
{
	struct packet pkt;

	__builtin_memset(&explanation, 0, sizeof(explanation));
	parse(skb, &pkt, skb->protocol == bpf_htons(ETH_P_IPV6));
	if (pkt.kind == PACKET_FLOW)
		explanation.drop = ask_socket(&pkt);
	return VERDICT_PASS;
}
