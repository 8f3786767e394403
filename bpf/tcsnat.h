/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * `return: snat` in tc, behind a NIC: flows begin here and get their source port, and
 * whatever XDP leaves is carried: all of it where there is no XDP, fragments, ICMP errors.
 *
 * The steps are global functions that the program calls one after another (forward.h);
 * VERDICT_NEXT, or the verdict that they were asked about, says that it is none of snat's.
 */
#ifndef FAIRLEAD_TCSNAT_H
#define FAIRLEAD_TCSNAT_H

#include "admit.h"
#include "fragment.h"
#include "quote.h"
#include "route.h"
#include "snat.h"

/* Ports that are tried for a flow; of a range that is no wider every one. */
#define SNAT_TRIES 512

/* A packet on its way, and the row that it may begin. Not on the stack: see admission. */
struct snat_work {
	struct packet pkt;
	struct overflow_key from;
	struct snat_key key;
	struct snat_flow row;
	__u32 now;
	__u32 first;   /* where the search for a port begins */
	__be16 spare;  /* the port of a flow that has ended but not been seen off; 0: none */
	__u16 stored;  /* 1: the row is */
	__u32 refused; /* 1: the kernel did not store it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct snat_work);
} snat_works SEC(".maps");

static __always_inline struct snat_work *snat_work_of(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&snat_works, &only);
}

/*
 * snat_nat() - replace both addresses and, of a packet that has them, both ports.
 * @pkt: as parsed, a fragment with the ports of its first; stays as it was
 */
static __always_inline enum drop_reason snat_nat(struct __sk_buff *skb, const struct packet *pkt,
						 const struct addr *from, const struct addr *to,
						 __be16 sport, __be16 dport, const bool v6)
{
	const bool later = pkt->kind == PACKET_FRAGMENT;
	const bool is_tcp = pkt->protocol == IPPROTO_TCP;
	__u32 check = pkt->l4_offset + (is_tcp ? TCP_CHECK_OFFSET : UDP_CHECK_OFFSET);
	__u64 flags = is_tcp ? 0 : BPF_F_MARK_MANGLED_0;
	__be16 ports[2] = {sport, dport};
	__u32 change = csum_fold32((__u64)csum_addr_change(&pkt->src, from, v6) +
				   csum_addr_change(&pkt->dst, to, v6));

	if (v6) {
		struct addr pair[2] = {*from, *to};

		if (bpf_skb_store_bytes(skb, ETH_HLEN + 8, pair, sizeof(pair),
					later ? BPF_F_RECOMPUTE_CSUM : 0))
			return DROP_REWRITE;
	} else {
		struct {
			__u16 check;
			__be32 src;
			__be32 dst;
		} __attribute__((packed)) part = {
			.check = ~csum_fold16((__u64)(__u16)~pkt->ip_check + change),
			.src = from->words[3],
			.dst = to->words[3],
		};

		if (bpf_skb_store_bytes(skb, ETH_HLEN + 10, &part, sizeof(part), 0))
			return DROP_REWRITE;
	}
	if (later)
		return DROP_NONE;
	if (bpf_l4_csum_replace(skb, check, 0, change,
				flags | BPF_F_PSEUDO_HDR | (v6 ? csum_ipv6_flag : 0)) ||
	    bpf_l4_csum_replace(skb, check, pkt->sport | (__u32)pkt->dport << 16,
				ports[0] | (__u32)ports[1] << 16, flags | 4) ||
	    bpf_skb_store_bytes(skb, pkt->l4_offset, ports, sizeof(ports), 0))
		return DROP_REWRITE;
	return DROP_NONE;
}

/* snat_carry() - the verdict on a packet that gets another source and destination. */
static __always_inline int snat_carry(struct __sk_buff *skb, const struct packet *pkt,
				      const struct flow *row, const struct addr *from,
				      const struct addr *to, __be16 sport, __be16 dport,
				      const enum dir dir, const bool v6)
{
	struct bpf_fib_lookup fib = {};
	enum drop_reason reason;
	long result;

	result = route_lookup(skb, skb->ifindex, &fib, from, to, route_bytes(skb, pkt), v6);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		chosen_set(skb, fib.mtu_result);
		return VERDICT_TOO_BIG;
	}
	if (!is_way(result))
		return drop(DROP_NO_ROUTE);
	observe_packet(skb, pkt, row, dir);
	reason = snat_nat(skb, pkt, from, to, sport, dport, v6);
	if (reason != DROP_NONE)
		return drop(reason);
	count_traffic(skb, pkt, row->backend, dir);
	return VERDICT_ROUTE;
}

static __always_inline int snat_carry_in(struct __sk_buff *skb, const struct snat_work *work,
					 const struct flow *row, const bool v6)
{
	const struct snat_key *key = &work->key;

	return snat_carry(skb, &work->pkt, row, (const struct addr *)key->source,
			  (const struct addr *)key->backend, key->source_port, key->backend_port,
			  DIR_IN, v6);
}

/* snat_row_of() - the row of a client's packet, in work->pkt; work->key leads to it. */
static __always_inline struct snat_flow *snat_row_of(struct snat_work *work, bool *embryonic,
						     const bool v6)
{
	struct snat_flow *row;
	struct snat_key *to;

	overflow_key_of(&work->from, &work->pkt);
	to = bpf_map_lookup_elem(&snat_clients, &work->from);
	if (!to)
		return NULL;
	work->key = *to;
	row = snat_find(&work->key, embryonic);
	return row && snat_of(row, &work->pkt, v6) ? row : NULL;
}

/* snat_end() - the row is another flow's, or a new life's, from now on. */
static __always_inline void snat_end(const struct snat_key *key, struct snat_flow *row,
				     bool embryonic, __u32 now)
{
	enum flow_end reason = row->flow.flags & FLOW_FIN_BOTH ? END_FIN : END_GONE;

	if (flow_expired(&row->flow, key->protocol, now))
		reason = END_IDLE;
	flow_end(&row->flow, reason, (const struct addr *)row->client, key->protocol, true);
	snat_forget(key, row);
	snat_delete(key, embryonic);
}

/* snat_back() - a backend's packet, whole or in fragments. */
static __always_inline int snat_back(struct __sk_buff *skb, const bool v6)
{
	struct snat_work *work = snat_work_of();
	struct packet *pkt;
	struct snat_flow *row;
	bool embryonic;
	__be32 id;

	if (!work)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	parse_first(skb, pkt, &id, v6);
	if (pkt->kind != PACKET_FLOW && (pkt->kind != PACKET_FRAGMENT || !fragment_recall(pkt, id)))
		return VERDICT_NEXT;
	if (!is_snat_port(pkt->dport))
		return VERDICT_NEXT;
	snat_key_of_reply(&work->key, pkt, v6);
	row = snat_find(&work->key, &embryonic);
	if (!row || !snat_alive(row))
		return VERDICT_NEXT;
	if (pkt->kind == PACKET_FLOW)
		snat_reply(&work->key, row, pkt);
	if (pkt->fragment)
		fragment_remember(pkt, id);
	return snat_carry(skb, pkt, &row->flow, (const struct addr *)row->vip,
			  (const struct addr *)row->client, row->flow.vip_port,
			  row->flow.client_port, DIR_OUT, v6);
}

__noinline int snat_back4(struct __sk_buff *skb)
{
	return snat_back(skb, false);
}

__noinline int snat_back6(struct __sk_buff *skb)
{
	return snat_back(skb, true);
}

/* is_last_hop() - would the packet die here? The stack tells its sender, if it has a VIP. */
static __always_inline bool is_last_hop(struct __sk_buff *skb, const struct packet *pkt,
					const bool v6)
{
	struct vip *vip;
	__u8 ttl;

	if (bpf_skb_load_bytes(skb, v6 ? HOP_LIMIT_OFFSET : TTL_OFFSET, &ttl, sizeof(ttl)) ||
	    ttl >= LEAST_TTL)
		return false;
	vip = vip_lookup(network_id, &pkt->dst, v6);
	return vip && (vip->flags & VIP_BALANCED);
}

/*
 * snat_in() - a client's packet, whole or the first of its fragments; VERDICT_ADMIT when
 * it has no flow, or none that could go on.
 */
static __always_inline int snat_in(struct __sk_buff *skb, const bool v6)
{
	struct snat_work *work = snat_work_of();
	struct snat_flow *row;
	bool embryonic;
	__be32 id;

	if (!work)
		return VERDICT_DROP;
	parse_first(skb, &work->pkt, &id, v6);
	if (work->pkt.kind != PACKET_FLOW)
		return VERDICT_ADMIT;
	row = snat_row_of(work, &embryonic, v6);
	if (!row)
		return VERDICT_ADMIT;
	work->now = now_jiffies();
	if (flow_expired(&row->flow, work->pkt.protocol, work->now) ||
	    flow_reopened(&row->flow, &work->pkt)) {
		snat_end(&work->key, row, embryonic, work->now);
		return VERDICT_ADMIT;
	}
	if (!snat_alive(row)) {
		flow_end(&row->flow, END_GONE, &work->pkt.src, work->pkt.protocol, true);
		if (!starts_flow(&work->pkt))
			return drop_or_refuse(DROP_BACKEND_GONE);
		snat_end(&work->key, row, embryonic, work->now);
		count_event(EVENT_RESELECT, packet_path);
		return VERDICT_ADMIT;
	}
	if (is_last_hop(skb, &work->pkt, v6))
		return forward_stack(skb);
	if (embryonic && !starts_tcp(&work->pkt))
		row = snat_promote(&work->key, row);
	flow_touch(&row->flow, &work->pkt, DIR_IN, work->now, true);
	return snat_carry_in(skb, work, &row->flow, v6);
}

__noinline int snat_in4(struct __sk_buff *skb)
{
	return snat_in(skb, false);
}

__noinline int snat_in6(struct __sk_buff *skb)
{
	return snat_in(skb, true);
}

/* snat_follow() - a client's later fragment; VERDICT_FRAGMENT when it has no flow here. */
static __always_inline int snat_follow(struct __sk_buff *skb, const bool v6)
{
	struct snat_work *work = snat_work_of();
	struct snat_flow *row;
	bool embryonic;
	__be32 id;

	if (!work)
		return VERDICT_DROP;
	parse_first(skb, &work->pkt, &id, v6);
	if (work->pkt.kind != PACKET_FRAGMENT || !fragment_recall(&work->pkt, id))
		return VERDICT_FRAGMENT;
	row = snat_row_of(work, &embryonic, v6);
	if (!row || !snat_alive(row))
		return VERDICT_FRAGMENT;
	return snat_carry_in(skb, work, &row->flow, v6);
}

__noinline int snat_follow4(struct __sk_buff *skb)
{
	return snat_follow(skb, false);
}

__noinline int snat_follow6(struct __sk_buff *skb)
{
	return snat_follow(skb, true);
}

/* snat_store() - under work->key. Returns 0, or a negative errno. */
static __always_inline long snat_store(struct snat_work *work)
{
	long error = bpf_map_update_elem(&embryonic_snats, &work->key, &work->row, BPF_NOEXIST);

	/* Another CPU may have moved a flow of this port between the two looks at it. */
	if (!error && bpf_map_lookup_elem(&snats, &work->key)) {
		bpf_map_delete_elem(&embryonic_snats, &work->key);
		return -ERRNO_EXIST;
	}
	work->stored = !error;
	work->refused = error && error != -ERRNO_EXIST;
	return error;
}

/*
 * try_port() - a callback of bpf_loop.
 *
 * The port of a flow that has ended is the last resort until its timer is out: the
 * backend may still have a socket that remembers it.
 */
static long try_port(__u32 turn, void *unused)
{
	const __u32 count = snat_last_port - snat_first_port + 1;
	struct snat_work *work = snat_work_of();
	struct snat_flow *row;
	bool embryonic;
	__u32 place;

	(void)unused;
	if (!work)
		return 1;
	place = (count > SNAT_TRIES ? bpf_get_prandom_u32() : work->first + turn) % count;
	work->key.source_port = bpf_htons(snat_first_port + place);
	row = snat_find(&work->key, &embryonic);
	if (row) {
		if (place_of(&row->flow, work->key.protocol, work->now) != PLACE_OURS)
			return 0;
		if (!flow_expired(&row->flow, work->key.protocol, work->now) && snat_alive(row)) {
			work->spare = work->key.source_port;
			return 0;
		}
		snat_end(&work->key, row, embryonic, work->now);
	}
	return !snat_store(work) || work->refused;
}

/* snat_allocate() - store the row under a port that is free. */
static __always_inline enum drop_reason snat_allocate(struct snat_work *work)
{
	const __u32 count = snat_last_port - snat_first_port + 1;
	struct snat_flow *row;
	bool embryonic;

	work->first = bpf_get_prandom_u32();
	work->spare = 0;
	work->stored = 0;
	work->refused = 0;
	bpf_loop(count < SNAT_TRIES ? count : SNAT_TRIES, try_port, NULL, 0);
	if (!work->stored && !work->refused && work->spare) {
		work->key.source_port = work->spare;
		row = snat_find(&work->key, &embryonic);
		if (row)
			snat_end(&work->key, row, embryonic, work->now);
		snat_store(work);
	}
	if (work->stored)
		return DROP_NONE;
	return work->refused ? DROP_FLOW_TABLE : DROP_NO_SOURCE_PORT;
}

/*
 * snat_begin() - the verdict on a packet whose flow admission has planned, in its row.
 *
 * One that dies here begins none: translated, its sender would not be told.
 */
static __always_inline int snat_begin(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm = admission_of();
	struct snat_work *work = snat_work_of();
	const struct backend *backend;
	enum drop_reason reason;
	const struct via *via;

	if (!adm || !work)
		return VERDICT_DROP;
	if (is_last_hop(skb, &adm->pkt, v6))
		return forward_stack(skb);
	via = via_of(adm->row.flow.backend);
	backend = backend_alive(adm->row.flow.backend, adm->row.flow.service,
				adm->row.flow.incarnation);
	if (!via || !backend || !via->addr[3])
		return drop(DROP_NO_ROUTE);
	if (adm->place == PLACE_OURS)
		delete_row(adm, v6);
	work->pkt = adm->pkt;
	overflow_key_of(&work->from, &adm->pkt);
	work->row.flow = adm->row.flow;
	work->now = adm->now;
	addr_copy(work->row.vip, adm->pkt.dst.words);
	addr_copy(work->row.client, adm->pkt.src.words);
	snat_key_set(&work->key, backend->addr, adm->row.flow.backend_port, via->addr, 0,
		     adm->pkt.protocol, v6);
	reason = snat_allocate(work);
	if (reason != DROP_NONE)
		return drop(reason);
	if (bpf_map_update_elem(&snat_clients, &work->from, &work->key, BPF_ANY)) {
		bpf_map_delete_elem(&embryonic_snats, &work->key);
		return drop(DROP_FLOW_TABLE);
	}
	count_connection(adm->row.flow.backend, packet_path);
	count_active(adm->row.flow.backend, true, PATH_TC);
	if (adm->row.flow.flags & FLOW_WATCHED)
		note_opened();
	if (adm->reselects)
		count_event(EVENT_RESELECT, packet_path);
	return snat_carry_in(skb, work, &work->row.flow, v6);
}

__noinline int snat_begin4(struct __sk_buff *skb)
{
	return snat_begin(skb, false);
}

__noinline int snat_begin6(struct __sk_buff *skb)
{
	return snat_begin(skb, true);
}

/*
 * snat_quoted() - rewrite an ICMP error and the packet that it quotes.
 * @near: the source of the error, if that is where the quoted packet went; a router's
 *        address stays
 */
static __always_inline int snat_quoted(struct __sk_buff *skb, const struct packet *pkt,
				       struct quote *quote, const struct addr *near,
				       const struct addr *source, __be16 sport,
				       const struct addr *destination, __be16 dport, const bool v6)
{
	if (addr_equal(pkt->src.words, quote->of.dst.words, v6) &&
	    quote_set_outer(skb, pkt, quote, SIDE_SOURCE, near, v6))
		return drop(DROP_REWRITE);
	if (quote_set_outer(skb, pkt, quote, SIDE_DESTINATION, source, v6) ||
	    quote_set_addr(skb, quote, SIDE_SOURCE, source, v6) ||
	    quote_set_addr(skb, quote, SIDE_DESTINATION, destination, v6) ||
	    quote_set_ports(skb, quote, sport, dport) || quote_finish(skb, pkt, quote, v6))
		return drop(DROP_REWRITE);
	count_event(EVENT_ICMP_ERROR, packet_path);
	return VERDICT_ROUTE;
}

/*
 * snat_error() - an ICMP error about what this node sent to a backend in a client's stead,
 * or about what a VIP sent to a client.
 * @verdict: returned when it is about no flow of snat
 */
static __always_inline int snat_error(struct __sk_buff *skb, int verdict, const bool v6)
{
	struct snat_work *work = snat_work_of();
	const struct addr *end;
	struct quote quote;
	struct packet *pkt;
	struct snat_flow *row;
	struct snat_key *to;
	bool embryonic;

	if (!work)
		return verdict;
	pkt = &work->pkt;
	parse(skb, pkt, v6);
	if (!is_icmp(pkt, v6) || !quote_read(skb, pkt, &quote, v6))
		return verdict;
	if (is_snat_port(quote.of.sport)) {
		snat_key_set(&work->key, quote.of.dst.words, quote.of.dport, quote.of.src.words,
			     quote.of.sport, quote.of.protocol, v6);
		row = snat_find(&work->key, &embryonic);
		if (row && snat_alive(row)) {
			end = (const struct addr *)row->vip;
			return snat_quoted(skb, pkt, &quote, end, (const struct addr *)row->client,
					   row->flow.client_port, end, row->flow.vip_port, v6);
		}
	}
	overflow_key_set(&work->from, &quote.of.dst, quote.of.dport, &quote.of.src, quote.of.sport,
			 quote.of.protocol);
	to = bpf_map_lookup_elem(&snat_clients, &work->from);
	if (!to)
		return verdict;
	work->key = *to;
	row = snat_find(&work->key, &embryonic);
	if (!row || row->flow.client_port != quote.of.dport || !snat_alive(row) ||
	    !addr_equal(row->client, quote.of.dst.words, v6))
		return verdict;
	end = (const struct addr *)work->key.source;
	return snat_quoted(skb, pkt, &quote, end, (const struct addr *)work->key.backend,
			   work->key.backend_port, end, work->key.source_port, v6);
}

__noinline int snat_error4(struct __sk_buff *skb, int verdict)
{
	return snat_error(skb, verdict, false);
}

__noinline int snat_error6(struct __sk_buff *skb, int verdict)
{
	return snat_error(skb, verdict, true);
}

#endif
