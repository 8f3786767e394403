/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Admission: what becomes of a TCP or UDP packet to an address in `vips` that the
 * fast path found no flow for, and the flow that it may start.
 */
#ifndef FAIRLEAD_ADMIT_H
#define FAIRLEAD_ADMIT_H

#include "flow.h"
#include "forward.h"
#include "nat.h"
#include "select.h"
#include "stateless.h"
#include "via.h"
#include "vip.h"

/* The state of the row that a flow would be stored in. */
enum place_state {
	PLACE_VACANT,
	PLACE_OURS,  /* this flow's own row, or one that nobody needs any more */
	PLACE_TAKEN, /* another flow lives there */
};

/* A packet on its way through admission. */
struct admission {
	struct packet pkt;
	union flow_key key;
	struct overflow_key from; /* where a substitute port is looked up */
	struct vip vip;
	struct asker asker;
	struct search search;
	struct flow6 row; /* the one to be stored; of IPv4 it has the first word of the VIP */
	__u32 now;
	__u32 place;		  /* enum place_state */
	__u32 reselects;	  /* the flow was live and lost its backend */
	__u32 stateless;	  /* the packet's hash leads it, if a row there is to be none */
	__u32 timed_at;		  /* jiffies; when handshakes were chosen last */
	__u32 timed;		  /* how many of them were */
	bool embryonic;		  /* the table that the row is in, or is to be in */
	bool vacant;		  /* there is no row under the packet's own key */
	struct entry_key brought; /* as which another node may have brought it earlier */
};

/* Not on the stack: 512 bytes have to do for a whole chain of calls. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct admission);
} admissions SEC(".maps");

/*
 * Looked up again instead of passed: the verifier of 6.1 takes a pointer argument for
 * plain memory, and that for no map's key.
 */
static __always_inline struct admission *admission_of(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&admissions, &only);
}

/*
 * admission_open() - leave to later steps what is known of the packet.
 * @vacant: there is no row under its own key
 *
 * Before admit() the caller sets `vip`, the row of the destination.
 */
static __always_inline struct admission *admission_open(const struct packet *pkt, bool vacant)
{
	struct admission *adm = admission_of();

	if (!adm)
		return NULL;
	adm->pkt = *pkt;
	adm->vacant = vacant;
	return adm;
}

/*
 * begins_plainly() - does a packet without a row under its own key have none elsewhere?
 *
 * Nothing is left for admit() to find then, and a call costs as much as a lookup.
 */
static __always_inline bool begins_plainly(const struct packet *pkt)
{
	return !overflow_marked(pkt->sport) && (starts_tcp(pkt) || !overflow_marked(pkt->dport));
}

/* admission_begin() - what admit() leaves to start() of such a packet. */
static __always_inline void admission_begin(struct admission *adm, const union flow_key *key,
					    const bool v6)
{
	if (v6)
		adm->key.v6 = key->v6;
	else
		adm->key.v4 = key->v4;
	adm->now = now_jiffies();
	adm->reselects = 0;
	adm->embryonic = true;
	adm->place = PLACE_VACANT;
}

static __always_inline int drop(enum drop_reason reason)
{
	count_drop(reason, packet_path);
	drop_note(reason);
	return VERDICT_DROP;
}

/*
 * drop_or_refuse() - refuse what will not be different in a moment.
 *
 * While the agent is between two writes a SYN had better be sent again than refused.
 */
static __always_inline int drop_or_refuse(enum drop_reason reason)
{
	if (reason == DROP_NO_FLOW && flows_incomplete)
		return drop(reason);
	if (reason == DROP_NO_BACKEND || reason == DROP_NO_PORT || reason == DROP_NO_FLOW ||
	    reason == DROP_BACKEND_GONE || reason == DROP_OVERLOADED)
		return VERDICT_REFUSE + reason;
	return drop(reason);
}

/* packets_in() - on the wire. @bytes: of them all, from the IP header on */
static __always_inline __u64 packets_in(struct __sk_buff *skb, const struct packet *pkt,
					__u64 *bytes)
{
	__u64 packets = skb->gso_segs;

	*bytes = skb->len - ETH_HLEN;
	if (packets <= 1)
		return 1;
	*bytes += (packets - 1) * (pkt->l4_offset - ETH_HLEN + pkt->l4_bytes);
	return packets;
}

static __always_inline void count_traffic(struct __sk_buff *skb, const struct packet *pkt,
					  __u32 backend_id, const enum dir dir)
{
	__u64 bytes;
	__u64 packets = packets_in(skb, pkt, &bytes);

	count_packet(backend_id, packet_path, dir, packets, bytes);
}

/* observe_packet() - before it is translated, when its row is at hand. */
static __always_inline void observe_packet(struct __sk_buff *skb, const struct packet *pkt,
					   const struct flow *row, const enum dir dir)
{
	__u64 packets, bytes;

	if (!(row->flags & FLOW_WATCHED))
		return;
	packets = packets_in(skb, pkt, &bytes);
	observe_traffic(row->observed, dir, packets, bytes);
}

/*
 * carry_in() - translate a client's packet and send it to the flow's backend.
 * @sport: the source port to use, of the flow's key
 */
static __always_inline int carry_in(struct __sk_buff *skb, const struct packet *pkt,
				    const struct flow *row, const struct backend *backend,
				    __be16 sport, const bool v6)
{
	enum drop_reason reason = DROP_NONE;
	__u32 backend_id = row->backend;

	observe_packet(skb, pkt, row, DIR_IN);
	if (!network_id)
		chosen_set(skb, backend_id);
	if (!as_dialled(backend_id))
		reason = nat(skb, pkt, SIDE_DESTINATION, (const struct addr *)backend->addr, sport,
			     row->backend_port, v6);
	if (reason != DROP_NONE)
		return drop(reason);
	count_traffic(skb, pkt, backend_id, DIR_IN);
	return forward_to(skb, backend, v6);
}

/* place_of() - may the row be taken by another flow? */
static __always_inline enum place_state place_of(const struct flow *row, __u8 protocol, __u32 now)
{
	if (!row)
		return PLACE_VACANT;
	if (flow_expired(row, protocol, now) || flow_is_closed(row))
		return PLACE_OURS;
	if (!(row->flags & FLOW_DIRECT) &&
	    !backend_alive(row->backend, row->service, row->incarnation))
		return PLACE_OURS;
	return PLACE_TAKEN;
}

/*
 * place_beside() - the same for a flow to another destination than the row's.
 *
 * A server that was the first to close knows the connection for another minute (TIME_WAIT),
 * and takes a SYN of other numbers for a stray packet of it: the client would try again a
 * second later.
 */
static __always_inline enum place_state place_beside(const struct flow *row, __u8 protocol,
						     __u32 now)
{
	if (row && !(row->flags & FLOW_RESET) && flow_is_closed(row) &&
	    !flow_expired(row, protocol, now))
		return PLACE_TAKEN;
	return place_of(row, protocol, now);
}

/* give_up() - account for the end of a row that the flow of @pkt, or its new life, replaces. */
static __always_inline void give_up(struct flow *row, const struct packet *pkt, __u32 now,
				    const bool v6)
{
	enum flow_end reason = row->flags & FLOW_FIN_BOTH ? END_FIN : END_GONE;

	if (flow_expired(row, pkt->protocol, now))
		reason = END_IDLE;
	flow_end(row, reason, &pkt->src, pkt->protocol, v6);
}

/*
 * store() - put the flow's row where it may be; @adm->key tells where it went.
 *
 * In place of another it stays in that one's table, which grows by nothing.
 */
static __always_inline enum drop_reason store(struct admission *adm, const struct flow *row,
					      const bool v6)
{
	__u64 mode = adm->place == PLACE_VACANT ? BPF_NOEXIST : BPF_ANY;
	long error;

	if (adm->place != PLACE_TAKEN) {
		error = adm->embryonic ? embryonic_update(&adm->key, row, mode, v6)
				       : flow_update(&adm->key, row, mode, v6);
		if (!error)
			return DROP_NONE;
		/* Another CPU may have stored a flow of this port just now. */
		if (error != -ERRNO_EXIST)
			return DROP_FLOW_TABLE;
	}
	overflow_key_of(&adm->from, &adm->pkt);
	return flow_store_aside(&adm->from, &adm->key, row, v6);
}

/* to_server() - does the flow's server side equal what this packet dials directly? */
static __always_inline bool to_server(const struct flow *row, const struct packet *pkt,
				      const bool v6)
{
	struct backend *backend;

	if (row->flags & FLOW_DIRECT)
		return row->vip_port == pkt->dport && flow_dialled(row, &pkt->dst, v6);
	backend = backend_alive(row->backend, row->service, row->incarnation);
	return backend && row->backend_port == pkt->dport &&
	       addr_equal(backend->addr, pkt->dst.words, v6);
}

/* carry_direct() - a packet without a VIP; only its source port may have to change. */
static __always_inline int carry_direct(struct __sk_buff *skb, struct admission *adm, const bool v6)
{
	const struct packet *pkt = &adm->pkt;
	enum drop_reason reason;

	reason = nat(skb, pkt, SIDE_DESTINATION, &pkt->dst, flow_key_port(&adm->key, v6),
		     pkt->dport, v6);
	return reason == DROP_NONE ? VERDICT_PASS : drop(reason);
}

/*
 * plan_direct() - may a flow that dials a backend without a VIP have a row?
 *
 * The row makes a flow through a VIP from the same port to the same backend collide
 * visibly. Two flows of one port to different servers do not collide: the later one
 * passes without a row. Returns whether to store it.
 */
static __always_inline bool plan_direct(const struct admission *adm, struct flow *row,
					const bool v6)
{
	const struct flow *occupant;
	bool embryonic;

	if (!starts_flow(&adm->pkt))
		return false;
	if (adm->place == PLACE_TAKEN) {
		occupant = flow_find(&adm->key, &embryonic, v6);
		if (!occupant || !to_server(occupant, &adm->pkt, v6))
			return false;
	}
	row->flags = FLOW_DIRECT;
	return true;
}

/*
 * plan_flow() - choose the backend of a packet that dials a VIP.
 * @backend: usable only when the result is DROP_NONE
 *
 * Returns DROP_NONE or the reason to drop or refuse.
 */
static __always_inline enum drop_reason plan_flow(struct __sk_buff *skb, struct admission *adm,
						  __u32 service_id, struct flow *row,
						  struct backend **backend, const bool v6)
{
	const struct packet *pkt = &adm->pkt;
	struct asker *asker = &adm->asker;
	enum drop_reason reason;
	struct service *svc;

	svc = bpf_map_lookup_elem(&services, &service_id);
	adm->stateless = svc && hash_leads(svc);
	if (!starts_flow(&adm->pkt) && !adm->stateless)
		return DROP_NO_FLOW;
	if (!lengths_fit(skb, &adm->pkt, v6))
		return DROP_MALFORMED;
	if (!svc)
		return DROP_NO_SERVICE;
	if (!source_allowed(svc, service_id, pkt->src.words, v6))
		return DROP_SOURCE_DENIED;
	asker->key.kind = v6 ? CLIENT_ADDRESS6 : CLIENT_ADDRESS4;
	addr_copy(asker->key.client, pkt->src.words);
	asker->path = packet_path;
	asker->protocol = pkt->protocol;
	asker->skip = 0;
	if (svc->algorithm == ALGORITHM_SH)
		asker->hash = hash_addr(HASH_START, pkt->src.words);
	else if (svc->algorithm == ALGORITHM_MAGLEV)
		asker->hash = hash_flow(pkt->src.words, pkt->sport, pkt->dst.words, pkt->dport,
					pkt->protocol);
	reason = pick_backend(svc, service_id, v6, asker, &adm->search, &row->backend, backend);
	if (reason != DROP_NONE)
		return reason;
	adm->stateless = adm->stateless && as_dialled(row->backend);
	if (!starts_flow(&adm->pkt) && !adm->stateless)
		return DROP_NO_FLOW;
	row->service = service_id;
	row->incarnation = (*backend)->incarnation;
	return DROP_NONE;
}

static __always_inline void delete_row(const struct admission *adm, const bool v6)
{
	if (adm->embryonic)
		embryonic_delete(&adm->key, v6);
	else
		flow_delete(&adm->key, v6);
}

/*
 * start_hairpin() - prepare a flow for a backend that was chosen for its own packet.
 *
 * Its row never lies under the client's own key, where the fast path would find it.
 */
static __always_inline void start_hairpin(struct admission *adm, struct flow *row, const bool v6)
{
	if (adm->place == PLACE_OURS)
		delete_row(adm, v6);
	row->flags |= FLOW_HAIRPIN;
	adm->place = PLACE_TAKEN;
	flow_key_set(&adm->key, &adm->pkt.dst, adm->pkt.sport, adm->pkt.protocol, v6);
}

/*
 * end_hairpin() - the client begins anew, and may be given another backend than itself.
 *
 * Returns the row under the client's own key, another flow's, or NULL.
 */
static __always_inline struct flow *end_hairpin(struct admission *adm, const bool v6)
{
	delete_row(adm, v6);
	flow_key_set(&adm->key, &adm->pkt.src, adm->pkt.sport, adm->pkt.protocol, v6);
	return flow_find(&adm->key, &adm->embryonic, v6);
}

/*
 * is_hairpin_reply() - does a backend answer itself?
 * @key: of any content; used
 *
 * Most packets are told apart by their port, or by their source, which is no backend's.
 */
static __always_inline bool is_hairpin_reply(const struct packet *pkt, union flow_key *key,
					     const bool v6)
{
	struct vip *vip;
	struct flow *row;
	bool embryonic;

	if (!overflow_marked(pkt->dport))
		return false;
	/* Of the outside, `vips` has no backends. */
	vip = network_id ? vip_lookup(network_id, &pkt->src, v6) : NULL;
	if (network_id && (!vip || !(vip->flags & VIP_BACKEND)))
		return false;
	flow_key_set(key, &pkt->dst, pkt->dport, pkt->protocol, v6);
	row = flow_find(key, &embryonic, v6);
	return row && row->backend_port == pkt->sport && hairpin_by(row, &pkt->src, v6);
}

/*
 * take_from_entry() - replies of a flow that begins here stay here, whichever node has
 * brought an earlier one from the same port of the client.
 */
static __always_inline void take_from_entry(struct admission *adm, const struct flow *row,
					    const struct backend *backend, const bool v6)
{
	entry_key_set(&adm->brought, &adm->pkt.src, flow_key_port(&adm->key, v6),
		      (const struct addr *)backend->addr, row->backend_port, adm->pkt.protocol);
	bpf_map_delete_elem(&entries, &adm->brought);
}

/*
 * is_timed() - is the handshake of this flow to be timed?
 *
 * The first ones of each jiffy: all where there are few, and where there are many the
 * others pay for a comparison.
 */
static __always_inline bool is_timed(struct admission *adm)
{
	if (!MAY_WRITE || !starts_tcp(&adm->pkt))
		return false;
	if (adm->timed_at != adm->now) {
		adm->timed_at = adm->now;
		adm->timed = 0;
	}
	if (adm->timed >= handshakes_a_jiffy)
		return false;
	adm->timed++;
	return true;
}

/* observe_flow() - give the flow that is about to begin a ticket, if it is to have one. */
__noinline int observe_flow(__u32 timed)
{
	struct watching *asked = watching_of();
	struct admission *adm = admission_of();
	__u16 flags = timed ? FLOW_TIMED : 0;
	const struct packet *pkt;
	struct flow *row;

	if (!adm || !asked)
		return 0;
	pkt = &adm->pkt;
	row = &adm->row.flow;
	if ((asked->kinds & (WATCH_BIT(WATCH_OPENED) | WATCH_ENDS)) &&
	    is_asked(asked, pkt->src.words, pkt->sport, row->service, row->backend) &&
	    may_tell(asked, asked->kinds & WATCH_BIT(WATCH_OPENED)))
		flags |= FLOW_WATCHED;
	if (!flags)
		return 0;
	row->observed = observation_begin(bpf_ktime_get_ns());
	if (row->observed)
		row->flags |= flags;
	return 0;
}

/* note_opened() - admission has stored a flow, which may be told. */
static __always_inline void note_opened(void)
{
	struct telling *telling = telling_of();

	if (telling)
		telling_mark(&telling->opened, 1);
}

/* tell_opened() - of the flow that was noted; admission has not gone on to another. */
__noinline int tell_opened(void)
{
	struct watching *asked = watching_of();
	struct telling *telling = telling_of();
	struct admission *adm = admission_of();
	const struct packet *pkt;
	struct flow_event *event;
	const struct flow *row;

	if (!adm || !asked || !telling || !telling_take(&telling->opened) ||
	    !(asked->kinds & WATCH_BIT(WATCH_OPENED)))
		return 0;
	pkt = &adm->pkt;
	row = &adm->row.flow;
	event = event_reserve(asked);
	if (!event)
		return 0;
	event_ends(event, pkt->src.words, pkt->sport, pkt->dst.words, pkt->dport);
	event_backend(event, row->service, row->backend, row->incarnation, row->backend_port);
	event->kind = WATCH_OPENED;
	event->protocol = pkt->protocol;
	event->path = packet_path;
	event->network = network_id;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/*
 * start() - a packet without a usable flow to an address in `vips`.
 *
 * The verifier takes it once for all the ways that lead here.
 */
static __always_inline int start(struct __sk_buff *skb, struct admission *adm, const bool v6)
{
	const struct vip *vip = &adm->vip;
	const struct packet *pkt = &adm->pkt;
	struct flow *row = &adm->row.flow;
	struct backend *backend = NULL;
	enum drop_reason reason;
	__u32 service_id;

	__builtin_memset(row, 0, sizeof(*row));
	row->vip_port = pkt->dport;
	row->client_port = pkt->sport;
	row->last_seen = adm->now;
	if (v6)
		addr_copy(adm->row.vip, pkt->dst.words);
	else
		adm->row.vip[0] = pkt->dst.words[3];
	service_id = vip_service(vip, network_id, &pkt->dst, pkt->dport, pkt->protocol,
				 &row->backend_port, v6);
	if (service_id) {
		reason = plan_flow(skb, adm, service_id, row, &backend, v6);
		/* A socket of the node itself may be older than the publication of its port. */
		if (reason == DROP_NO_FLOW && (vip->flags & VIP_NODE) && !flows_incomplete)
			return VERDICT_PASS;
		if (reason != DROP_NONE)
			return drop_or_refuse(reason);
		if (is_timed(adm))
			observe_flow(true);
		else if (watches(WATCH_ANY))
			observe_flow(false);
		if (is_snat(row->backend))
			return VERDICT_SNAT;
		if (adm->stateless && rate_exceeded(adm->now)) {
			if (starts_tcp(pkt))
				count_connection(row->backend, packet_path);
			count_event(EVENT_STATELESS, packet_path);
			return carry_in(skb, pkt, row, backend, pkt->sport, v6);
		}
		if (addr_equal(backend->addr, pkt->src.words, v6))
			start_hairpin(adm, row, v6);
	} else if (vip->flags & VIP_NODE) {
		return VERDICT_PASS;
	} else if (!(vip->flags & VIP_BACKEND)) {
		return drop_or_refuse(DROP_NO_PORT);
	} else if (!plan_direct(adm, row, v6)) {
		return VERDICT_PASS;
	}
	reason = store(adm, row, v6);
	/* A direct flow that collides with none can do without a row. */
	if (reason != DROP_NONE && !backend && adm->place != PLACE_TAKEN)
		return VERDICT_PASS;
	if (reason != DROP_NONE)
		return drop(reason);
	if (!backend)
		return carry_direct(skb, adm, v6);
	if (!network_id)
		take_from_entry(adm, row, backend, v6);
	if (starts_flow(pkt))
		count_connection(row->backend, packet_path);
	count_active(row->backend, true, PATH_TC);
	if (row->flags & FLOW_WATCHED)
		note_opened();
	if (adm->reselects)
		count_event(EVENT_RESELECT, packet_path);
	if (row->flags & FLOW_HAIRPIN)
		return VERDICT_HAIRPIN;
	return carry_in(skb, pkt, row, backend, flow_key_port(&adm->key, v6), v6);
}

__noinline int start4(struct __sk_buff *skb)
{
	struct admission *adm = admission_of();

	return adm ? start(skb, adm, false) : VERDICT_DROP;
}

__noinline int start6(struct __sk_buff *skb)
{
	struct admission *adm = admission_of();

	return adm ? start(skb, adm, true) : VERDICT_DROP;
}

/*
 * admit() - the verdict on a TCP or UDP packet that the fast path did not take, or
 * VERDICT_REFUSE and a reason.
 *
 * The packet may belong to a flow under a substitute port, or to a row that needs more than
 * a translation. admission_open() was called for it.
 */
static __always_inline int admit(struct __sk_buff *skb, const bool v6)
{
	struct admission *adm;
	const struct packet *pkt;
	struct flow *row, *occupant;
	struct backend *backend;

	adm = admission_of();
	if (!adm)
		return VERDICT_DROP;
	pkt = &adm->pkt;
	adm->now = now_jiffies();
	adm->reselects = 0;
	flow_key_set(&adm->key, &pkt->src, pkt->sport, pkt->protocol, v6);
	adm->embryonic = true;
	row = adm->vacant ? NULL : flow_find(&adm->key, &adm->embryonic, v6);
	occupant = NULL;
	if (!row || !flow_of(row, pkt, v6)) {
		occupant = row;
		row = NULL;
		if (overflow_marked(pkt->sport)) {
			overflow_key_of(&adm->from, pkt);
			row = flow_via_overflow(pkt, &adm->from, &adm->key, &adm->embryonic, v6);
		}
	}
	adm->place = PLACE_OURS;
	if (!row && !starts_tcp(pkt)) {
		union flow_key reply;

		if (is_hairpin_reply(pkt, &reply, v6))
			return VERDICT_HAIRPIN;
	}
	if (!row) {
		adm->place = place_beside(occupant, pkt->protocol, adm->now);
		if (occupant && adm->place == PLACE_OURS)
			give_up(occupant, pkt, adm->now, v6);
	} else if (!flow_expired(row, pkt->protocol, adm->now) && !flow_reopened(row, pkt)) {
		backend = backend_alive(row->backend, row->service, row->incarnation);
		if (backend || (row->flags & FLOW_DIRECT)) {
			if (adm->embryonic && !starts_tcp(pkt)) {
				row = flow_promote(&adm->key, row, v6);
				backend =
					backend_alive(row->backend, row->service, row->incarnation);
			}
			flow_touch(row, pkt, DIR_IN, adm->now, v6);
			if (row->flags & FLOW_DIRECT)
				return carry_direct(skb, adm, v6);
			if (!backend)
				return drop(DROP_BACKEND_GONE); /* this very moment */
			if (row->flags & FLOW_HAIRPIN)
				return VERDICT_HAIRPIN;
			return carry_in(skb, pkt, row, backend, flow_key_port(&adm->key, v6), v6);
		}
		flow_end(row, END_GONE, &pkt->src, pkt->protocol, v6);
		if (!starts_flow(pkt))
			return drop_or_refuse(DROP_BACKEND_GONE);
		adm->reselects = 1;
	} else {
		give_up(row, pkt, adm->now, v6);
	}
	if (row && (row->flags & FLOW_HAIRPIN)) {
		occupant = end_hairpin(adm, v6);
		adm->place = place_beside(occupant, pkt->protocol, adm->now);
	}
	/* Not called from here: the verifier of 6.1 adds up the stacks of all callers. */
	return VERDICT_START;
}

__noinline int admit4(struct __sk_buff *skb)
{
	return admit(skb, false);
}

__noinline int admit6(struct __sk_buff *skb)
{
	return admit(skb, true);
}

#endif
