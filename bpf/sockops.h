/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Accounting of TCP connections that the socket path placed: bytes and segments,
 * added once, when the kernel closes the socket. Changes nothing about them.
 *
 * A connection that was begun before the program was attached is not seen.
 */
#ifndef FAIRLEAD_SOCKOPS_H
#define FAIRLEAD_SOCKOPS_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "count.h"
#include "maps.h"
#include "select.h"

/* The kernel's, cut down to what is read; CO-RE finds the offsets at load. */
struct sock_common {
	unsigned long skc_flags;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 write_seq;
} __attribute__((preserve_access_index));

/* enum sock_flags: set by a FIN that arrived in order, and by nothing else of TCP. */
#define SOCK_DONE_BIT 1

static __always_inline bool fin_was_queued(__u32 state)
{
	return state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
	       state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
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
	__u64 in = ctx->bytes_acked;
	__u64 out = ctx->bytes_received;
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp;

	if (!sk || !backend_alive(peer->backend, peer->service, peer->incarnation))
		return;
	count_active(peer->backend, false, PATH_SOCK);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	if (in)
		in--;
	if (in && fin_was_queued(before) && ctx->snd_una == tcp->write_seq)
		in--;
	if (out && ((struct sock_common *)tcp)->skc_flags & (1UL << SOCK_DONE_BIT))
		out--;
	count_packet(peer->backend, PATH_SOCK, DIR_IN, ctx->segs_out, in);
	count_packet(peer->backend, PATH_SOCK, DIR_OUT, ctx->segs_in, out);
}

static __always_inline struct sock_peer *placed_peer(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&sock_peers, sk, NULL, 0) : NULL;
}

static __always_inline void watch(struct bpf_sock_ops *ctx)
{
	struct sock_peer *peer;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		peer = placed_peer(ctx);
		if (!peer || bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
								    BPF_SOCK_OPS_STATE_CB_FLAG))
			break;
		count_active(peer->backend, true, PATH_SOCK);
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
