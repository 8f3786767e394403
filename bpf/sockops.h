/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Accounting of TCP connections that the socket path placed: bytes and segments,
 * added once, when the kernel closes the socket; how long the handshake took; and what
 * those who watch are told of them. Changes nothing about them.
 *
 * A connection that was begun before the program was attached is not seen.
 */
#ifndef FAIRLEAD_SOCKOPS_H
#define FAIRLEAD_SOCKOPS_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.h"
#include "count.h"
#include "event.h"
#include "handshake.h"
#include "maps.h"
#include "select.h"

/* The kernel's, cut down to what is read; CO-RE finds the offsets at load. */
struct sock_common {
	unsigned long skc_flags;
} __attribute__((preserve_access_index));

struct sock {
	int sk_err;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 write_seq;
} __attribute__((preserve_access_index));

/* Of asm-generic/errno.h, which is not for this target. */
#define ERRNO_CONNABORTED 103
#define ERRNO_TIMEDOUT 110

/* enum sock_flags: set by a FIN that arrived in order, and by nothing else of TCP. */
#define SOCK_DONE_BIT 1

static __always_inline bool fin_was_queued(__u32 state)
{
	return state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
	       state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
}

/*
 * end_of() - why a connection has closed.
 * @before: the state it had until now
 * @error:  of its socket: a socket that the agent ends has ECONNABORTED
 */
static __always_inline enum flow_end end_of(__u32 before, int error)
{
	if (error == ERRNO_CONNABORTED)
		return END_GONE;
	if (error == ERRNO_TIMEDOUT)
		return END_IDLE;
	if (error)
		return END_RESET;
	if (before == BPF_TCP_FIN_WAIT2 || before == BPF_TCP_CLOSING ||
	    before == BPF_TCP_LAST_ACK || before == BPF_TCP_TIME_WAIT)
		return END_FIN;
	/* Closed with data unread, or without waiting: the kernel sends a reset. */
	return END_RESET;
}

/*
 * local_word() - of the socket's address.
 *
 * In assembly, because clang 19 would add the offset, of either family's field, to the
 * pointer first, and the verifier wants the context as it was given.
 */
#define local_word(ctx, field)                                                                     \
	({                                                                                         \
		__be32 word_;                                                                      \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                              \
			     : "=r"(word_)                                                         \
			     : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sock_ops, field)));     \
		word_;                                                                             \
	})

/* local_addr() - as records have it. */
static __always_inline void local_addr(struct bpf_sock_ops *ctx, struct addr *addr)
{
	if (ctx->family == ADDRESS_FAMILY_4) {
		addr_set4(addr, local_word(ctx, local_ip4));
		return;
	}
	addr->words[0] = local_word(ctx, local_ip6[0]);
	addr->words[1] = local_word(ctx, local_ip6[1]);
	addr->words[2] = local_word(ctx, local_ip6[2]);
	addr->words[3] = local_word(ctx, local_ip6[3]);
}

/* event_of_peer() - NULL: nobody is to be told. */
static __always_inline struct flow_event *
event_of_peer(struct bpf_sock_ops *ctx, enum watch_kind kind, const struct sock_peer *peer)
{
	const __be16 port = bpf_htons(ctx->local_port);
	struct watching *asked = watching_of();
	struct flow_event *event;
	struct addr client;

	if (!asked || !(asked->kinds & WATCH_BIT(kind)))
		return NULL;
	local_addr(ctx, &client);
	if (!is_asked(asked, client.words, port, peer->service, peer->backend) ||
	    !may_tell(asked, true))
		return NULL;
	event = event_reserve(asked);
	if (!event)
		return NULL;
	event_ends(event, client.words, port, peer->vip, peer->vip_port);
	event_backend(event, peer->service, peer->backend, peer->incarnation, peer->backend_port);
	addr_copy(event->backend, peer->backend_addr);
	event->kind = kind;
	event->protocol = IPPROTO_TCP;
	event->path = PATH_SOCK;
	event->network = peer->network;
	return event;
}

static __always_inline void tell_connecting(struct bpf_sock_ops *ctx, const struct sock_peer *peer)
{
	struct flow_event *event = event_of_peer(ctx, WATCH_OPENED, peer);

	if (event)
		bpf_ringbuf_submit(event, 0);
}

/* What a connection that just closed has carried, as the path counts it. */
struct carried {
	__u64 segments_in;
	__u64 bytes_in;
	__u64 segments_out;
	__u64 bytes_out;
};

static __always_inline void tell_closed(struct bpf_sock_ops *ctx, const struct sock_peer *peer,
					enum flow_end reason, const struct carried *carried)
{
	const enum watch_kind kind = reason == END_RESET ? WATCH_RESET : WATCH_CLOSED;
	struct flow_event *event = event_of_peer(ctx, kind, peer);

	if (!event)
		return;
	event->reason = reason;
	event->observed = 1;
	event->duration_ns = event->time_ns - peer->begun_ns;
	event->packets_in = carried->segments_in;
	event->bytes_in = carried->bytes_in;
	event->packets_out = carried->segments_out;
	event->bytes_out = carried->bytes_out;
	bpf_ringbuf_submit(event, 0);
}

/*
 * count_closed() - add a connection that just closed.
 * @before: the state it had until now
 *
 * The kernel's byte counts are differences of sequence numbers, so a SYN and a FIN
 * that were acknowledged count one each; so does a FIN that arrived.
 */
static __always_inline void count_closed(struct bpf_sock_ops *ctx, __u32 before,
					 const struct sock_peer *peer)
{
	struct carried carried = {
		.segments_in = ctx->segs_out,
		.bytes_in = ctx->bytes_acked,
		.segments_out = ctx->segs_in,
		.bytes_out = ctx->bytes_received,
	};
	struct bpf_sock *sk = ctx->sk;
	enum flow_end reason;
	struct tcp_sock *tcp;
	bool alive;

	if (!sk)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	alive = backend_alive(peer->backend, peer->service, peer->incarnation);
	reason = alive ? end_of(before, ((struct sock *)tcp)->sk_err) : END_GONE;
	count_end(reason, PATH_SOCK);
	count_end_of(peer->backend, peer->service, alive, reason, PATH_SOCK);
	if (carried.bytes_in)
		carried.bytes_in--;
	if (carried.bytes_in && fin_was_queued(before) && ctx->snd_una == tcp->write_seq)
		carried.bytes_in--;
	if (carried.bytes_out && ((struct sock_common *)tcp)->skc_flags & (1UL << SOCK_DONE_BIT))
		carried.bytes_out--;
	if (watches(WATCH_ENDS))
		tell_closed(ctx, peer, reason, &carried);
	if (!alive)
		return;
	count_active(peer->backend, false, PATH_SOCK);
	count_packet(peer->backend, PATH_SOCK, DIR_IN, carried.segments_in, carried.bytes_in);
	count_packet(peer->backend, PATH_SOCK, DIR_OUT, carried.segments_out, carried.bytes_out);
}

static __always_inline struct sock_peer *placed_peer(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&sock_peers, sk, NULL, 0) : NULL;
}

/* count_answered() - the backend has answered, and the client's kernel takes that for all. */
static __always_inline void count_answered(const struct sock_peer *peer)
{
	if (handshakes_a_jiffy && peer->begun_ns)
		handshake_count(peer->backend, HANDSHAKE_BACKEND, PATH_SOCK,
				bpf_ktime_get_ns() - peer->begun_ns);
}

static __always_inline void account(struct bpf_sock_ops *ctx)
{
	struct sock_peer *peer;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		peer = placed_peer(ctx);
		if (!peer || bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
								    BPF_SOCK_OPS_STATE_CB_FLAG))
			break;
		count_active(peer->backend, true, PATH_SOCK);
		peer->begun_ns = bpf_ktime_get_ns();
		if (watches(WATCH_BIT(WATCH_OPENED)))
			tell_connecting(ctx, peer);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		peer = placed_peer(ctx);
		if (peer)
			count_answered(peer);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE || ctx->args[0] == BPF_TCP_CLOSE)
			break;
		peer = placed_peer(ctx);
		if (peer)
			count_closed(ctx, ctx->args[0], peer);
		break;
	}
}

#endif
