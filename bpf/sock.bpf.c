/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket path: local processes dial a VIP, and the kernel connects them to a
 * backend; nothing happens per packet. Attached once, at the root of cgroup v2; a
 * socket is ours when its network namespace is in `netnses`. Every other process of
 * the machine passes here too, so what is not ours leaves first.
 *
 * A family is that of the address, not of the socket: an IPv6 socket that dials
 * ::ffff:a.b.c.d leaves by connect6 or sendmsg4, and hears by recvmsg6.
 *
 * getpeername and recvmsg may only return 1: kernels refuse to load anything else.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>

#include "resolver.h"
#include "sock.h"
#include "sockevent.h"
#include "sockops.h"
#include "sockudp.h"

char _license[] SEC("license") = "Dual BSD/GPL";

enum { REFUSE, PROCEED };

/* Not in the uapi headers that user space may include beside the C library's. */
#define AF_INET 2
#define AF_INET6 10
#define LISTENING 10 /* TCP_LISTEN */

/* ---- contexts ------------------------------------------------------------- */

static __always_inline void read_address(struct bpf_sock_addr *ctx, const int family,
					 struct endpoint *at)
{
	if (family == AF_INET) {
		at->addr[0] = 0;
		at->addr[1] = 0;
		at->addr[2] = MAPPED_WORD;
		at->addr[3] = ctx->user_ip4;
	} else {
		at->addr[0] = ctx->user_ip6[0];
		at->addr[1] = ctx->user_ip6[1];
		at->addr[2] = ctx->user_ip6[2];
		at->addr[3] = ctx->user_ip6[3];
	}
	at->port = (__be16)ctx->user_port;
	at->protocol = (__u8)ctx->protocol;
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, const int family,
					  const __be32 addr[4], __be16 port)
{
	if (family == AF_INET) {
		ctx->user_ip4 = addr[3];
	} else {
		ctx->user_ip6[0] = addr[0];
		ctx->user_ip6[1] = addr[1];
		ctx->user_ip6[2] = addr[2];
		ctx->user_ip6[3] = addr[3];
	}
	ctx->user_port = port;
}

static __always_inline struct caller caller_of(struct bpf_sock_addr *ctx)
{
	struct caller caller = {
		.netns = bpf_get_netns_cookie(ctx),
		.socket = bpf_get_socket_cookie(ctx),
	};

	return caller;
}

static __always_inline struct netns *netns_of(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	return bpf_map_lookup_elem(&netnses, &cookie);
}

static __always_inline int refuse(enum drop_reason reason, const struct endpoint *to,
				  const struct match *match)
{
	count_drop(reason, PATH_SOCK);
	count_event(EVENT_REFUSED, PATH_SOCK);
	if (watches(WATCH_BIT(WATCH_REFUSED)))
		tell_refused(to, match, reason);
	if (has_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

static __always_inline struct sock_peer *peer_of(struct bpf_sock_addr *ctx)
{
	return bpf_sk_storage_get(&sock_peers, ctx->sk, NULL, 0);
}

static __always_inline void forget_peer(struct bpf_sock_addr *ctx)
{
	if (peer_of(ctx))
		bpf_sk_storage_delete(&sock_peers, ctx->sk);
}

/*
 * dialled_past() - the socket dials something that is not ours: what it knows of
 * its last connection must not speak for this one.
 */
static __always_inline void dialled_past(struct bpf_sock_addr *ctx, const struct endpoint *to)
{
	forget_peer(ctx);
	if (ctx->protocol == IPPROTO_UDP)
		forget_from(bpf_get_socket_cookie(ctx), to);
}

/* ---- connect -------------------------------------------------------------- */

/*
 * is_taken() - is there a TCP connection from this very port to that endpoint?
 *
 * Only a port that the application bound can clash: the kernel draws the others
 * after this hook, free for the backend. A socket bound to a port and no address has
 * no source address yet, and then nothing can be asked: connect says EADDRNOTAVAIL.
 */
static __always_inline bool is_taken(struct bpf_sock_addr *ctx, const __be32 addr[4], __be16 port)
{
	/* Volatile: clang 19 would read both families' fields by one computed offset. */
	const volatile struct bpf_sock *own = ctx->sk;
	__be32 own_addr[4] = {own->src_ip6[0], own->src_ip6[1], own->src_ip6[2], own->src_ip6[3]};
	__be32 own_addr4 = own->src_ip4;
	__be16 own_port = bpf_htons(own->src_port);
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *other;
	__u32 size;
	bool taken;

	if (is_mapped(addr)) {
		tuple.ipv4.saddr = addr[3];
		tuple.ipv4.sport = port;
		tuple.ipv4.daddr = own_addr4;
		tuple.ipv4.dport = own_port;
		size = sizeof(tuple.ipv4);
	} else {
		copy_addr(tuple.ipv6.saddr, addr);
		tuple.ipv6.sport = port;
		copy_addr(tuple.ipv6.daddr, own_addr);
		tuple.ipv6.dport = own_port;
		size = sizeof(tuple.ipv6);
	}
	other = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!other)
		return false;
	taken = other->state != LISTENING;
	bpf_sk_release(other);
	return taken;
}

/*
 * choose_free() - choose(), but avoid a backend that this socket's bound port is
 * connected to already, through another VIP or directly.
 */
static __always_inline enum drop_reason choose_free(struct bpf_sock_addr *ctx,
						    const struct match *match,
						    const struct endpoint *to, __u32 *id,
						    struct backend **backend)
{
	struct caller caller = caller_of(ctx);
	enum drop_reason reason = choose(&caller, match, to, 0, id, backend);
	bool collided = false;
	int try;

	if (reason || !*backend || ctx->protocol != IPPROTO_TCP || !ctx->sk->src_port)
		return reason;
	for (try = 1; try < COLLISION_TRIES; try++) {
		if (!is_taken(ctx, (*backend)->addr, match->target_port))
			break;
		collided = true;
		reason = choose(&caller, match, to, try, id, backend);
		if (reason || !*backend)
			break;
	}
	if (collided)
		count_event(EVENT_COLLISION, PATH_SOCK);
	return reason;
}

static __always_inline void remember_peer(struct bpf_sock_addr *ctx, const struct match *match,
					  const struct endpoint *to, __u32 backend_id,
					  const struct backend *backend)
{
	struct sock_peer peer = {
		.vip_port = to->port,
		.backend_port = match->target_port,
		.network = match->network,
		.service = match->service,
		.backend = backend_id,
		.incarnation = backend->incarnation,
	};
	struct sock_peer *stored;

	copy_addr(peer.vip, to->addr);
	copy_addr(peer.backend_addr, backend->addr);
	/* An initial value is taken only by storage that this call creates. */
	stored = bpf_sk_storage_get(&sock_peers, ctx->sk, &peer, BPF_SK_STORAGE_GET_F_CREATE);
	if (stored)
		*stored = peer;
}

/*
 * asks_route() - may this UDP connect be a question about routes?
 *
 * It sends nothing: ping (port 1025) and the address sorting of C libraries connect
 * only to learn their source address. A port that a service names tells a client from
 * them; any other is not refused here, and a datagram that follows is by the tc path.
 */
static __always_inline bool asks_route(const struct bpf_sock_addr *ctx, const struct match *match,
				       enum drop_reason reason)
{
	return ctx->protocol == IPPROTO_UDP && (reason == DROP_NO_PORT || match->any_port);
}

static __always_inline int balance_connect(struct bpf_sock_addr *ctx, const int family)
{
	enum drop_reason reason;
	struct match match = {};
	struct backend *backend = NULL;
	struct endpoint to = {};
	struct netns *netns;
	__u32 backend_id = 0;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return PROCEED;
	read_address(ctx, family, &to);
	if (dials_resolver(&to)) {
		lead_question(ctx);
		forget_peer(ctx);
		return PROCEED;
	}
	netns = netns_of(ctx);
	if (!netns) {
		forget_peer(ctx);
		return PROCEED;
	}
	reason = find_service(netns, &to, &match);
	if (!reason && match.service)
		reason = choose_free(ctx, &match, &to, &backend_id, &backend);
	if (reason && !asks_route(ctx, &match, reason))
		return refuse(reason, &to, &match);
	if (!backend) {
		dialled_past(ctx, &to);
		return PROCEED;
	}
	remember_peer(ctx, &match, &to, backend_id, backend);
	count_connection(backend_id, PATH_SOCK);
	if (ctx->protocol == IPPROTO_UDP && watches(WATCH_BIT(WATCH_OPENED)))
		tell_connected(&to, &match, backend_id, backend);
	write_address(ctx, family, backend->addr, match.target_port);
	return PROCEED;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return balance_connect(ctx, AF_INET);
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return balance_connect(ctx, AF_INET6);
}

/* ---- unconnected UDP ------------------------------------------------------ */

static __always_inline int balance_sendmsg(struct bpf_sock_addr *ctx, const int family)
{
	struct backend *backend = NULL;
	enum drop_reason reason;
	struct endpoint to = {};
	struct match match = {};
	struct caller caller;
	struct netns *netns;
	__u32 backend_id = 0;

	if (ctx->protocol != IPPROTO_UDP)
		return PROCEED;
	read_address(ctx, family, &to);
	if (dials_resolver(&to)) {
		lead_question(ctx);
		return PROCEED;
	}
	netns = netns_of(ctx);
	if (!netns)
		return PROCEED;
	reason = find_service(netns, &to, &match);
	if (reason)
		return refuse(reason, &to, &match);
	caller = caller_of(ctx);
	if (match.service) {
		reason = backend_kept(&caller, peer_of(ctx), &match, &to, &backend_id, &backend);
		if (reason)
			return refuse(reason, &to, &match);
	}
	if (!backend) {
		forget_from(caller.socket, &to);
		return PROCEED;
	}
	remember_from(caller.socket, &match, &to, backend_id, backend);
	write_address(ctx, family, backend->addr, match.target_port);
	return PROCEED;
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return balance_sendmsg(ctx, AF_INET);
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return balance_sendmsg(ctx, AF_INET6);
}

/* ---- what the application sees -------------------------------------------- */

/*
 * show_peer() - the VIP in place of the backend that the socket is connected to.
 *
 * connect(AF_UNSPEC) passes no hook and a connect can fail after its hook, so what
 * was remembered counts only if it is the address that the kernel reports.
 */
static __always_inline bool show_peer(struct bpf_sock_addr *ctx, const int family,
				      const struct endpoint *from)
{
	struct sock_peer *peer = peer_of(ctx);

	if (!peer || peer->backend_port != from->port || !same_addr(peer->backend_addr, from->addr))
		return false;
	write_address(ctx, family, peer->vip, peer->vip_port);
	return true;
}

static __always_inline void translate_source(struct bpf_sock_addr *ctx, const int family)
{
	struct endpoint from = {};
	struct udp_from *vip;

	read_address(ctx, family, &from);
	if (show_resolver(ctx, &from))
		return;
	if (ctx->sk->dst_port && show_peer(ctx, family, &from))
		return;
	if (!netns_of(ctx))
		return;
	vip = vip_of_answer(bpf_get_socket_cookie(ctx), &from);
	if (vip)
		write_address(ctx, family, vip->vip, vip->vip_port);
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	translate_source(ctx, AF_INET);
	return PROCEED;
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	translate_source(ctx, AF_INET6);
	return PROCEED;
}

SEC("cgroup/getpeername4")
int sock_peername4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = {};

	read_address(ctx, AF_INET, &peer);
	if (!show_resolver(ctx, &peer))
		show_peer(ctx, AF_INET, &peer);
	return PROCEED;
}

SEC("cgroup/getpeername6")
int sock_peername6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = {};

	read_address(ctx, AF_INET6, &peer);
	if (!show_resolver(ctx, &peer))
		show_peer(ctx, AF_INET6, &peer);
	return PROCEED;
}

/* ---- accounting ----------------------------------------------------------- */

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	account(ctx);
	return PROCEED;
}
