/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket path's decisions: whose socket it is, which service a dialled address
 * belongs to, which backend takes it. Knows the maps and struct bpf_sock, not which
 * hook runs; sock.bpf.c reads and writes the contexts.
 */
#ifndef FAIRLEAD_SOCK_H
#define FAIRLEAD_SOCK_H

#include <stdbool.h>

#include <linux/in.h>
#include <bpf/bpf_endian.h>

#include "config.h"
#include "count.h"
#include "maps.h"
#include "select.h"

/* How many backends are tried before two VIPs have to share one. */
#define COLLISION_TRIES 4

/* The word before the last of a v4-mapped address. */
#define MAPPED_WORD bpf_htonl(0xffff)

/* An address and port as a call names them; IPv4 is v4-mapped. */
struct endpoint {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
};

/* What a dialled endpoint is. `service` 0: not ours. */
struct match {
	__u32 network;
	__u32 service;
	__be16 target_port;
	bool any_port; /* no row names the port: it is ours because all are */
};

static __always_inline bool is_mapped(const __be32 addr[4])
{
	return !addr[0] && !addr[1] && addr[2] == MAPPED_WORD;
}

static __always_inline void copy_addr(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline bool same_addr(const __be32 a[4], const __be32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline struct vip *vip_of(__u32 network, const struct endpoint *to)
{
	struct vip6_key key6 = {.network = network};
	struct vip4_key key4 = {.network = network};

	if (is_mapped(to->addr)) {
		key4.addr = to->addr[3];
		return bpf_map_lookup_elem(&vips4, &key4);
	}
	copy_addr(key6.addr, to->addr);
	return bpf_map_lookup_elem(&vips6, &key6);
}

static __always_inline struct port *port_of(__u32 network, const struct endpoint *to)
{
	struct port6_key key6 = {.network = network, .port = to->port, .protocol = to->protocol};
	struct port4_key key4 = {.network = network, .port = to->port, .protocol = to->protocol};

	if (is_mapped(to->addr)) {
		key4.addr = to->addr[3];
		return bpf_map_lookup_elem(&ports4, &key4);
	}
	copy_addr(key6.addr, to->addr);
	return bpf_map_lookup_elem(&ports6, &key6);
}

/*
 * find_service() - which service of the socket's networks an endpoint belongs to.
 * @match: usable only when the result is DROP_NONE
 *
 * The first network that knows the address decides, even if there it is only a
 * backend's: networks are in the order of lookup. Asking for the address before the
 * port costs a stranger's address one lookup a network.
 *
 * Returns DROP_NONE, also for what is not ours, or DROP_NO_PORT.
 */
static __always_inline enum drop_reason find_service(const struct netns *netns,
						     const struct endpoint *to, struct match *match)
{
	struct vip *vip = NULL;
	struct port *port;
	__u32 network = 0;
	int i;

	match->service = 0;
#pragma unroll
	for (i = 0; i < MAX_SOCKET_NETWORKS; i++) {
		network = netns->networks[i];
		if (!network)
			return DROP_NONE;
		vip = vip_of(network, to);
		if (vip)
			break;
	}
	match->network = network;
	if (!vip || !(vip->flags & VIP_BALANCED))
		return DROP_NONE;
	port = port_of(network, to);
	if (port) {
		match->service = port->service;
		match->target_port = port->target_port ?: to->port;
		return DROP_NONE;
	}
	if (!(vip->flags & VIP_ANY_PORT) || !to->port)
		return DROP_NO_PORT;
	match->service = vip->service;
	match->target_port = to->port;
	match->any_port = true;
	return DROP_NONE;
}

/*
 * Whose socket asks. It has no source address yet, so the namespace is the client; a
 * cookie of either kind is unique on this node until it restarts.
 */
struct caller {
	__u64 netns;
	__u64 socket;
};

/*
 * choose() - a backend for a new connection to `match`'s service.
 * @skip:    how many earlier choices would not do
 * @backend: NULL: the service asks for the client's address, which only a packet has
 *
 * Returns DROP_NONE, or why there is none.
 */
static __always_inline enum drop_reason choose(const struct caller *caller,
					       const struct match *match, const struct endpoint *to,
					       __u32 skip, __u32 *backend_id,
					       struct backend **backend)
{
	const bool v6 = !is_mapped(to->addr);
	struct search search;
	struct asker asker = {
		.key.kind = v6 ? CLIENT_NETNS6 : CLIENT_NETNS4,
		.key.client = {0, 0, bpf_htonl(caller->netns >> 32), bpf_htonl(caller->netns)},
		.skip = skip,
		.path = PATH_SOCK,
		.protocol = to->protocol,
	};
	__u32 service_id = match->service;
	struct service *service = bpf_map_lookup_elem(&services, &service_id);

	if (!service)
		return DROP_NO_SERVICE;
	if (service->flags & SERVICE_SOURCES)
		return DROP_NONE;
	if (service->algorithm == ALGORITHM_SH)
		asker.hash = hash_addr(HASH_START, asker.key.client);
	else if (service->algorithm == ALGORITHM_MAGLEV)
		asker.hash = hash_words(hash_addr(HASH_START, asker.key.client),
					caller->socket >> 32, caller->socket);
	return pick_backend(service, service_id, v6, &asker, &search, backend_id, backend);
}

#endif
