/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Unconnected UDP sockets: which backend each keeps for a VIP and port, and which
 * VIP its answers show. A socket is its cookie here; contexts are sock.bpf.c's.
 */
#ifndef FAIRLEAD_SOCKUDP_H
#define FAIRLEAD_SOCKUDP_H

#include "count.h"
#include "maps.h"
#include "select.h"
#include "sock.h"

static __always_inline bool same_vip(const struct udp_from *from, const struct endpoint *to)
{
	return from->vip_port == to->port && same_addr(from->vip, to->addr);
}

static __always_inline void make_from_key(struct udp_from_key *key, __u64 cookie,
					  const __be32 addr[4], __be16 port)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->cookie = cookie;
	copy_addr(key->backend_addr, addr);
	key->backend_port = port;
}

/* vip_of_answer() - the row of a datagram that came from there, or NULL. */
static __always_inline struct udp_from *vip_of_answer(__u64 cookie, const struct endpoint *from)
{
	struct udp_from_key key;

	make_from_key(&key, cookie, from->addr, from->port);
	return bpf_map_lookup_elem(&udp_from, &key);
}

/*
 * remember_from() - answers of that backend will show the VIP dialled last.
 *
 * Written again whenever it is gone: the LRU evicts halves of a pair.
 */
static __always_inline void remember_from(__u64 cookie, const struct match *match,
					  const struct endpoint *to, __u32 backend_id,
					  const struct backend *backend)
{
	struct udp_from value = {
		.vip_port = to->port,
		.backend = backend_id,
		.incarnation = backend->incarnation,
	};
	struct udp_from_key key;
	struct udp_from *from;

	make_from_key(&key, cookie, backend->addr, match->target_port);
	from = bpf_map_lookup_elem(&udp_from, &key);
	if (from && same_vip(from, to))
		return;
	copy_addr(value.vip, to->addr);
	bpf_map_update_elem(&udp_from, &key, &value, BPF_ANY);
}

/*
 * forget_from() - a datagram straight to a backend takes its answers back from the
 * VIP: the destination dialled last is the one that answers show. Nothing in an
 * answer tells two outstanding requests to one backend apart.
 */
static __always_inline void forget_from(__u64 cookie, const struct endpoint *to)
{
	struct udp_from_key key;

	make_from_key(&key, cookie, to->addr, to->port);
	if (bpf_map_lookup_elem(&udp_from, &key))
		bpf_map_delete_elem(&udp_from, &key);
}

/*
 * choose_unshared() - choose(), but avoid a backend that already answers this socket
 * in the name of another VIP. If all tried do, the last is shared.
 */
static __always_inline enum drop_reason choose_unshared(const struct caller *caller,
							const struct match *match,
							const struct endpoint *to, __u32 *id,
							struct backend **backend)
{
	enum drop_reason reason = DROP_NONE;
	struct udp_from_key key;
	struct udp_from *from;
	bool collided = false;
	int try;

	for (try = 0; try < COLLISION_TRIES; try++) {
		reason = choose(caller, match, to, try, id, backend);
		if (reason || !*backend)
			break;
		make_from_key(&key, caller->socket, (*backend)->addr, match->target_port);
		from = bpf_map_lookup_elem(&udp_from, &key);
		if (!from || same_vip(from, to))
			break;
		collided = true;
	}
	if (collided)
		count_event(EVENT_COLLISION, PATH_SOCK);
	return reason;
}

/*
 * backend_kept() - the backend that the socket has for this VIP and port, choosing
 * one if it has none or it is gone.
 * @peer: what the socket connected to last, or NULL. A socket that connected to this
 *        VIP stays with that backend: an IPv6 socket hears nobody else even after
 *        connect(AF_UNSPEC), for the kernel keeps the peer's address as a filter.
 */
static __always_inline enum drop_reason
backend_kept(const struct caller *caller, const struct sock_peer *peer, const struct match *match,
	     const struct endpoint *to, __u32 *id, struct backend **backend)
{
	struct udp_to_key key = {.cookie = caller->socket, .vip_port = to->port};
	enum drop_reason reason;
	struct udp_to value = {};
	struct udp_to *kept;

	copy_addr(key.vip, to->addr);
	kept = bpf_map_lookup_elem(&udp_to, &key);
	if (kept && kept->network == match->network) {
		*id = kept->backend;
		*backend = backend_alive(kept->backend, match->service, kept->incarnation);
		if (*backend)
			return DROP_NONE;
	}
	if (peer && peer->network == match->network && peer->vip_port == to->port &&
	    same_addr(peer->vip, to->addr)) {
		*id = peer->backend;
		*backend = backend_alive(peer->backend, match->service, peer->incarnation);
	}
	if (!*backend) {
		reason = choose_unshared(caller, match, to, id, backend);
		if (reason || !*backend)
			return reason;
		if (kept)
			count_event(EVENT_RESELECT, PATH_SOCK);
		count_connection(*id, PATH_SOCK);
	}
	value.network = match->network;
	value.service = match->service;
	value.backend = *id;
	value.incarnation = (*backend)->incarnation;
	value.backend_port = match->target_port;
	bpf_map_update_elem(&udp_to, &key, &value, BPF_ANY);
	return DROP_NONE;
}

#endif
