/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table: keys, life and storing of rows. The only writer, beside the sweep, of
 * flows4, flows6, embryonic4, embryonic6 and overflows. Chooses no backend and changes
 * no packet.
 *
 * A row begins in the embryonic table and moves with the client's second packet, if
 * that is not a repeated SYN. A key is in one of both.
 */
#ifndef FAIRLEAD_FLOW_H
#define FAIRLEAD_FLOW_H

#include "config.h"
#include "count.h"
#include "event.h"
#include "handshake.h"
#include "maps.h"
#include "parse.h"
#include "backend.h"

#define FLOW_FIN_BOTH (FLOW_FIN_CLIENT | FLOW_FIN_BACKEND)
#define SUBSTITUTE_TRIES 16

/* Jiffies that `last_seen` may be behind: a write for every packet of many flows costs. */
#define LAST_SEEN_GRAIN 16
#define FIRST_SUBSTITUTE_PORT 1024 /* a server may trust a well-known source port */

/* bpf_helpers.h gives no errno, and the C library's header is not for this target. */
#define ERRNO_EXIST 17

union flow_key {
	struct flow4_key v4;
	struct flow6_key v6;
};

/*
 * flow_key_set() - all of it.
 *
 * Port, protocol and padding in one store: the kernel hashes words, and a load of what
 * several stores have written waits until they are through.
 */
static __always_inline void flow_key_set(union flow_key *key, const struct addr *client,
					 __be16 client_port, __u8 protocol, const bool v6)
{
	__be32 tail = bpf_htonl((__u32)bpf_ntohs(client_port) << 16 | (__u32)protocol << 8);

	if (v6) {
		key->v6.network = network_id;
		addr_copy(key->v6.client, client->words);
		__builtin_memcpy((void *)key + __builtin_offsetof(struct flow6_key, client_port),
				 &tail, sizeof(tail));
	} else {
		key->v4.network = network_id;
		key->v4.client = client->words[3];
		__builtin_memcpy((void *)key + __builtin_offsetof(struct flow4_key, client_port),
				 &tail, sizeof(tail));
	}
}

static __always_inline __be16 flow_key_port(const union flow_key *key, const bool v6)
{
	return v6 ? key->v6.client_port : key->v4.client_port;
}

static __always_inline void flow_key_set_port(union flow_key *key, __be16 port, const bool v6)
{
	if (v6)
		key->v6.client_port = port;
	else
		key->v4.client_port = port;
}

static __always_inline struct flow *flow_lookup(const union flow_key *key, const bool v6)
{
	return v6 ? bpf_map_lookup_elem(&flows6, &key->v6) : bpf_map_lookup_elem(&flows4, &key->v4);
}

static __always_inline long flow_update(const union flow_key *key, const struct flow *row,
					__u64 mode, const bool v6)
{
	return v6 ? bpf_map_update_elem(&flows6, &key->v6, row, mode)
		  : bpf_map_update_elem(&flows4, &key->v4, row, mode);
}

static __always_inline struct flow *embryonic_lookup(const union flow_key *key, const bool v6)
{
	return v6 ? bpf_map_lookup_elem(&embryonic6, &key->v6)
		  : bpf_map_lookup_elem(&embryonic4, &key->v4);
}

static __always_inline long embryonic_update(const union flow_key *key, const struct flow *row,
					     __u64 mode, const bool v6)
{
	return v6 ? bpf_map_update_elem(&embryonic6, &key->v6, row, mode)
		  : bpf_map_update_elem(&embryonic4, &key->v4, row, mode);
}

static __always_inline void embryonic_delete(const union flow_key *key, const bool v6)
{
	if (v6)
		bpf_map_delete_elem(&embryonic6, &key->v6);
	else
		bpf_map_delete_elem(&embryonic4, &key->v4);
}

static __always_inline void flow_delete(const union flow_key *key, const bool v6)
{
	if (v6)
		bpf_map_delete_elem(&flows6, &key->v6);
	else
		bpf_map_delete_elem(&flows4, &key->v4);
}

/*
 * flow_find() - the row of a key in either table.
 * @embryonic: in which; if there is none, where one begins
 *
 * Promotion stores before it deletes. A row that it moved between the first two lookups
 * is found by the third.
 */
static __always_inline struct flow *flow_find(const union flow_key *key, bool *embryonic,
					      const bool v6)
{
	struct flow *row = flow_lookup(key, v6);
	bool begins = !row;

	if (!row)
		row = embryonic_lookup(key, v6);
	if (!row) {
		row = flow_lookup(key, v6);
		begins = !row;
	}
	*embryonic = begins;
	return row;
}

/*
 * flow_absent() - is there no row of a key in either table?
 *
 * In this order none is missed while it moves. Both lookups miss the processor's caches as a
 * rule, and being neighbours they wait for memory together.
 */
static __always_inline bool flow_absent(const union flow_key *key, const bool v6)
{
	return !embryonic_lookup(key, v6) && !flow_lookup(key, v6);
}

#define PROMOTION_COUNTERS 1024 /* a power of two */

/* How many rows of clients' ports have moved. The program's own: it alone moves and begins them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROMOTION_COUNTERS);
	__type(key, __u32);
	__type(value, __u32);
} promotions SEC(".maps");

static __always_inline __u32 *promotions_of(__be16 client_port)
{
	__u32 index = bpf_ntohs(client_port) & (PROMOTION_COUNTERS - 1);

	return bpf_map_lookup_elem(&promotions, &index);
}

/* promotions_count() - the same before and after: no row of the port has moved between. */
static __always_inline __u32 promotions_count(__be16 client_port)
{
	const volatile __u32 *count = promotions_of(client_port);

	return count ? *count : 0;
}

/*
 * flow_promote() - move a row to the table of those that are no longer embryonic.
 *
 * Another CPU may be moving the same row for another packet of the flow. Returns where
 * it is then; where it was, if it could not be moved. The old place is another flow's at
 * once, so nothing that was read from it may be used afterwards.
 */
static __always_inline struct flow *flow_promote(const union flow_key *key, struct flow *row,
						 const bool v6)
{
	const long error = flow_update(key, row, BPF_NOEXIST, v6);
	struct flow *moved;
	__u32 *moves;

	if (error && error != -ERRNO_EXIST)
		return row;
	moved = flow_lookup(key, v6);
	if (!moved)
		return row;
	if (!error) {
		moves = promotions_of(flow_key_port(key, v6));
		if (moves)
			__sync_fetch_and_add(moves, 1);
		embryonic_delete(key, v6);
	}
	return moved;
}

static __always_inline __u32 now_jiffies(void)
{
	return bpf_jiffies64();
}

/* flow_dialled() - is it a row of that VIP? */
static __always_inline bool flow_dialled(const struct flow *row, const struct addr *vip,
					 const bool v6)
{
	if (v6)
		return addr_equal(((const struct flow6 *)row)->vip, vip->words, true);
	return ((const struct flow4 *)row)->vip == vip->words[3];
}

/* flow_vip() - what the row's client dialled. @buffer: for an address that the row has short */
static __always_inline const struct addr *flow_vip(const struct flow *row, struct addr *buffer,
						   const bool v6)
{
	if (v6)
		return (const struct addr *)((const struct flow6 *)row)->vip;
	addr_set4(buffer, ((const struct flow4 *)row)->vip);
	return buffer;
}

/*
 * flow_of() - is this the row of a packet that a client sent?
 *
 * The client's port is compared too: under the same key lives the flow of another
 * port if that one was given this port as its substitute.
 */
static __always_inline bool flow_of(const struct flow *row, const struct packet *pkt, const bool v6)
{
	return row->client_port == pkt->sport && row->vip_port == pkt->dport &&
	       flow_dialled(row, &pkt->dst, v6);
}

static __always_inline bool flow_is_closed(const struct flow *row)
{
	return (row->flags & FLOW_RESET) || (row->flags & FLOW_FIN_BOTH) == FLOW_FIN_BOTH;
}

/* flow_timeout() - how long the flow may be idle in the state that it is in. */
static __always_inline __u32 flow_timeout(const struct flow *row, __u8 protocol)
{
	const struct timers *own = bpf_map_lookup_elem(&timers, &row->service);

	if (protocol == IPPROTO_UDP)
		return own && own->udp_jiffies ? own->udp_jiffies : udp_timeout_jiffies;
	if (flow_is_closed(row))
		return own && own->closing_jiffies ? own->closing_jiffies
						   : tcp_closing_timeout_jiffies;
	if (row->flags & FLOW_ESTABLISHED)
		return own && own->established_jiffies ? own->established_jiffies
						       : tcp_established_timeout_jiffies;
	return own && own->syn_jiffies ? own->syn_jiffies : tcp_syn_timeout_jiffies;
}

/* In jiffies, and longer than any timer: a row that seems to idle longer is ahead of us. */
#define LONGEST_IDLE 0xf0000000

/* flow_is_behind() - is `last_seen` to be written anew? */
static __always_inline bool flow_is_behind(const struct flow *row, __u32 now)
{
	return now - row->last_seen >= LAST_SEEN_GRAIN;
}

/*
 * flow_expired() - has nothing been seen of the flow for too long?
 *
 * Another CPU may have seen a packet since @now was read; a sweep takes so long that it will.
 */
static __always_inline bool flow_expired(const struct flow *row, __u8 protocol, __u32 now)
{
	__u32 idle = now - row->last_seen;

	return idle > flow_timeout(row, protocol) && idle < LONGEST_IDLE;
}

/* flow_ended() - account for the end of a flow, once. Its arguments are note_end()'s. */
static __always_inline int flow_ended(const struct flow *row, const __u64 client[2], __u32 word,
				      const bool v6)
{
	const enum hook_path path = END_WORD_PATH(word);
	const enum flow_end reason = END_WORD_REASON(word);
	bool alive;

	if (reason >= END_COUNT)
		return 0;
	if (watches(WATCH_ENDS))
		note_end(row, client, word, v6);
	count_end(reason, path);
	alive = backend_alive(row->backend, row->service, row->incarnation);
	if (alive)
		count_active(row->backend, false, PATH_TC);
	count_end_of(row->backend, row->service, alive, reason, path);
	return 0;
}

/*
 * Functions of their own, with little stack, as what they are called from has none left.
 * An address that was passed by reference would keep the whole packet in memory there.
 */
__noinline int flow_ended4(const struct flow4 *row, __be32 client, __u32 word)
{
	const __u64 halves[2] = {0, (__u64)client << 32 | bpf_htonl(0xffff)};

	return row ? flow_ended(&row->flow, halves, word, false) : 0;
}

__noinline int flow_ended6(const struct flow6 *row, __u64 first, __u64 second, __u32 word)
{
	const __u64 halves[2] = {first, second};

	return row ? flow_ended(&row->flow, halves, word, true) : 0;
}

/*
 * flow_end_in() - the flow is an active connection no longer.
 * @network: that the row's key has
 * @v6:      its VIP has four words
 *
 * Two CPUs may see the end at once and count it twice: the sweep puts that right.
 */
static __always_inline void flow_end_in(struct flow *row, enum flow_end reason,
					const struct addr *client, __u8 protocol, __u32 network,
					const enum hook_path path, const bool v6)
{
	const __u32 word = END_WORD(reason, path, protocol, network);
	const __be32 *words = client->words;

	if (row->flags & (FLOW_ENDED | FLOW_DIRECT))
		return;
	if (MAY_WRITE)
		row->flags |= FLOW_ENDED;
	if (v6)
		flow_ended6((const struct flow6 *)row, (__u64)words[1] << 32 | words[0],
			    (__u64)words[3] << 32 | words[2], word);
	else
		flow_ended4((const struct flow4 *)row, words[3], word);
}

/* flow_end() - the same of one that this program's packets are of. */
static __always_inline void flow_end(struct flow *row, enum flow_end reason,
				     const struct addr *client, __u8 protocol, const bool v6)
{
	flow_end_in(row, reason, client, protocol, network_id, packet_path, v6);
}

/*
 * flow_reopened() - does this packet start a new connection on an ending one's row?
 *
 * One FIN suffices: a client that has closed its side sends no SYN on that
 * connection again, and if the other FIN was missed the port would be stuck.
 */
static __always_inline bool flow_reopened(const struct flow *row, const struct packet *pkt)
{
	return starts_tcp(pkt) && (row->flags & (FLOW_FIN_BOTH | FLOW_RESET));
}

/*
 * flow_known() - the fast path's look at a client's packet: what both hooks do first.
 * @key:     of any content; the packet's own afterwards
 * @backend: NULL with FLOW_DIRECT; usable only when a row is returned
 * @missing: there was no row of the key; false also if none was looked for
 *
 * Returns the row of a live flow that a translation suffices for, or NULL. What begins a
 * connection is not looked for: it has no row, or one that needs more.
 */
static __always_inline struct flow *flow_known(const struct packet *pkt, union flow_key *key,
					       __u32 now, struct backend **backend, bool *missing,
					       const bool v6)
{
	struct flow *row;

	*missing = false;
	flow_key_set(key, &pkt->src, pkt->sport, pkt->protocol, v6);
	*backend = NULL;
	if (starts_tcp(pkt))
		return NULL;
	row = flow_lookup(key, v6);
	*missing = !row;
	if (!row || !flow_of(row, pkt, v6))
		return NULL;
	if (flow_is_behind(row, now) && flow_expired(row, pkt->protocol, now))
		return NULL;
	if (row->flags & FLOW_DIRECT)
		return row;
	*backend = backend_alive(row->backend, row->service, row->incarnation);
	return *backend ? row : NULL;
}

/* What a packet tells of its flow's state. */
static __always_inline __u16 flow_flags_in(const struct packet *pkt)
{
	__u16 flags = 0;

	if (pkt->protocol != IPPROTO_TCP)
		return 0;
	if (!(pkt->tcp_flags & (TCP_SYN | TCP_RST)))
		flags |= FLOW_ESTABLISHED;
	if (pkt->tcp_flags & TCP_FIN)
		flags |= FLOW_FIN_CLIENT;
	if (pkt->tcp_flags & TCP_RST)
		flags |= FLOW_RESET;
	return flags;
}

static __always_inline __u16 flow_flags_out(const struct packet *pkt)
{
	__u16 flags = 0;

	if (pkt->protocol != IPPROTO_TCP)
		return FLOW_ESTABLISHED;
	if (pkt->tcp_flags & TCP_FIN)
		flags |= FLOW_FIN_BACKEND;
	if (pkt->tcp_flags & TCP_RST)
		flags |= FLOW_RESET;
	return flags;
}

/*
 * flow_time() - the handshake of a flow that is timed goes on, or is over.
 *
 * One that is reset is no handshake, whoever did it.
 */
static __always_inline void flow_time(struct flow *row, const struct packet *pkt,
				      const enum dir dir)
{
	const __u8 bits = pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST);

	if (dir == DIR_OUT && bits == (TCP_SYN | TCP_ACK))
		handshake_step(row, HANDSHAKE_BACKEND, packet_path);
	if (dir == DIR_IN && bits == TCP_ACK)
		handshake_step(row, HANDSHAKE_CLIENT, packet_path);
	else if (!(bits & TCP_RST))
		return;
	row->flags &= ~FLOW_TIMED;
}

/*
 * flow_touch() - a packet of the flow. Writes only what changed: most find the line clean.
 * @v6: its VIP has four words
 *
 * A client that goes on after a reset was not reset: that one was stale or forged, and
 * its receiver took no notice of it (RFC 5961). It stays counted as an end.
 */
static __always_inline void flow_touch(struct flow *row, const struct packet *pkt,
				       const enum dir dir, __u32 now, const bool v6)
{
	const __u16 flags = dir == DIR_IN ? flow_flags_in(pkt) : flow_flags_out(pkt);

	if (!MAY_WRITE)
		return;
	/* Both seldom, so that most packets pay for one test. */
	if (row->flags & (FLOW_RESET | FLOW_TIMED)) {
		if (row->flags & FLOW_TIMED)
			flow_time(row, pkt, dir);
		if ((row->flags & FLOW_RESET) && (flags & FLOW_ESTABLISHED))
			row->flags &= ~FLOW_RESET;
	}
	if (flags & ~row->flags) {
		row->flags |= flags;
		if (flow_is_closed(row))
			flow_end(row, row->flags & FLOW_RESET ? END_RESET : END_FIN,
				 dir == DIR_IN ? &pkt->src : &pkt->dst, pkt->protocol, v6);
	}
	if (flow_is_behind(row, now))
		row->last_seen = now;
}

/* A row of `overflows` on its way there. Not on the stack: see flow_ended4(). */
struct detour {
	struct overflow_key from;
	struct overflow to;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct detour);
} detours SEC(".maps");

static __always_inline struct detour *detour_of(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&detours, &only);
}

static __always_inline void overflow_key_set(struct overflow_key *key, const struct addr *client,
					     __be16 client_port, const struct addr *dialled,
					     __be16 dialled_port, __u8 protocol)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->network = network_id;
	addr_copy(key->client, client->words);
	addr_copy(key->dialled, dialled->words);
	key->client_port = client_port;
	key->dialled_port = dialled_port;
	key->protocol = protocol;
}

/* overflow_key_of() - the key of a client's packet. */
static __always_inline void overflow_key_of(struct overflow_key *key, const struct packet *pkt)
{
	overflow_key_set(key, &pkt->src, pkt->sport, &pkt->dst, pkt->dport, pkt->protocol);
}

static __always_inline __u64 port_bit(__be16 port)
{
	return 1ULL << (port % PORTS_A_WORD);
}

static __always_inline __u64 *port_word(__be16 port)
{
	__u32 index = port / PORTS_A_WORD;

	return bpf_map_lookup_elem(&overflow_ports, &index);
}

/* overflow_mark() - before the row is there, so that nobody who needs it misses it. */
static __always_inline void overflow_mark(__be16 port)
{
	__u64 *word = port_word(port);

	if (word && !(*word & port_bit(port)))
		__sync_fetch_and_or(word, port_bit(port));
}

/* overflow_marked() - may there be a row for that port? */
static __always_inline bool overflow_marked(__be16 port)
{
	__u64 *word = port_word(port);

	return word && (*word & port_bit(port));
}

/*
 * hairpin_by() - is that row of a backend which dialled itself, and is it this one?
 *
 * The key does not tell: it has the VIP, which all backends of a service share.
 */
static __always_inline bool hairpin_by(const struct flow *row, const struct addr *addr,
				       const bool v6)
{
	struct backend *backend;

	if (!(row->flags & FLOW_HAIRPIN))
		return false;
	backend = backend_alive(row->backend, row->service, row->incarnation);
	return backend && addr_equal(backend->addr, addr->words, v6);
}

/*
 * flow_via_overflow() - the row of a client's packet that lives under another port.
 * @from: the packet's overflow key
 * @key:  the packet's own; leads to the row if one is returned, else is unchanged
 * @embryonic: in which table it is; changed only if one is returned
 */
static __always_inline struct flow *flow_via_overflow(const struct packet *pkt,
						      const struct overflow_key *from,
						      union flow_key *key, bool *embryonic,
						      const bool v6)
{
	struct overflow *overflow;
	struct flow *row;
	bool there;

	if (!overflow_marked(pkt->sport))
		return NULL;
	overflow = bpf_map_lookup_elem(&overflows, from);
	if (!overflow)
		return NULL;
	flow_key_set(key, overflow->hairpin ? &pkt->dst : &pkt->src, overflow->substitute_port,
		     pkt->protocol, v6);
	row = flow_find(key, &there, v6);
	if (row && flow_of(row, pkt, v6) &&
	    (!overflow->hairpin || hairpin_by(row, &pkt->src, v6))) {
		*embryonic = there;
		return row;
	}
	flow_key_set(key, &pkt->src, pkt->sport, pkt->protocol, v6);
	return NULL;
}

/*
 * flow_repair() - put back the overflow row of a flow with a substitute port.
 * @pkt: a reply, not yet translated
 *
 * Both tables evict on their own. Without this row the client's next packet would
 * be taken for a flow that was lost.
 */
static __always_inline void flow_repair(const struct packet *pkt, const struct flow *row,
					const bool v6)
{
	const bool hairpin = row->flags & FLOW_HAIRPIN;
	struct detour *way = detour_of();
	struct addr buffer;

	if (!way)
		return;
	way->to.substitute_port = pkt->dport;
	way->to.hairpin = hairpin;
	overflow_key_set(&way->from, hairpin ? &pkt->src : &pkt->dst, row->client_port,
			 flow_vip(row, &buffer, v6), row->vip_port, pkt->protocol);
	if (bpf_map_lookup_elem(&overflows, &way->from))
		return;
	if (!bpf_map_update_elem(&overflows, &way->from, &way->to, BPF_ANY))
		count_event(EVENT_FLOW_REPAIRED, packet_path);
}

/*
 * flow_store_aside() - store a flow under a substitute port.
 * @from: overflow key of the packet that starts the flow
 * @key:  the packet's own; leads to the row when the result is DROP_NONE
 *
 * A hairpin's substitute is not the port that was dialled: its replies could not be told
 * from its requests if the backend listened on the port that it dials from.
 * Returns DROP_NONE, DROP_NO_SOURCE_PORT or DROP_FLOW_TABLE.
 */
static __always_inline enum drop_reason flow_store_aside(const struct overflow_key *from,
							 union flow_key *key,
							 const struct flow *row, const bool v6)
{
	const bool hairpin = row->flags & FLOW_HAIRPIN;
	struct overflow value = {.hairpin = hairpin};
	__u32 port;
	long error;
	int try;

	if (!hairpin)
		count_event(EVENT_COLLISION, packet_path);
	for (try = 0; try < SUBSTITUTE_TRIES; try++) {
		port = FIRST_SUBSTITUTE_PORT +
		       bpf_get_prandom_u32() % (65536 - FIRST_SUBSTITUTE_PORT);
		value.substitute_port = bpf_htons(port);
		flow_key_set_port(key, value.substitute_port, v6);
		if (flow_lookup(key, v6) || (hairpin && value.substitute_port == row->vip_port))
			continue;
		error = embryonic_update(key, row, BPF_NOEXIST, v6);
		if (!error)
			break;
		if (error != -ERRNO_EXIST)
			return DROP_FLOW_TABLE;
	}
	if (try == SUBSTITUTE_TRIES)
		return DROP_NO_SOURCE_PORT;
	overflow_mark(from->client_port);
	if (hairpin)
		overflow_mark(value.substitute_port);
	if (!bpf_map_update_elem(&overflows, from, &value, BPF_ANY))
		return DROP_NONE;
	embryonic_delete(key, v6);
	return DROP_FLOW_TABLE;
}

#endif
