/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Standing in for an engine's resolver, which containers ask at 127.0.0.11: questions go
 * to a listener that the agent has in their namespace, at the same address and another
 * port, so no route and no netfilter rule sees anything new. Answers are told by the
 * listener's port alone; nothing is remembered.
 *
 * Whoever asks from 127.0.0.11 itself is let by: so the agent asks the engine's resolver.
 */
#ifndef FAIRLEAD_RESOLVER_H
#define FAIRLEAD_RESOLVER_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "sock.h"

#define RESOLVER_ADDR bpf_htonl(0x7f00000b) /* 127.0.0.11 */
#define RESOLVER_PORT bpf_htons(53)

/* One comparison: each branch here would have the verifier walk all that follows again. */
static __always_inline bool at_resolver(const struct endpoint *at)
{
	return !(at->addr[0] | at->addr[1] | (at->addr[2] ^ MAPPED_WORD) |
		 (at->addr[3] ^ RESOLVER_ADDR));
}

static __always_inline bool dials_resolver(const struct endpoint *to)
{
	return at_resolver(to) && to->port == RESOLVER_PORT;
}

static __always_inline __be16 answering_port(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct resolver *resolver = bpf_map_lookup_elem(&resolvers, &netns);

	if (!resolver)
		return 0;
	return ctx->protocol == IPPROTO_TCP ? resolver->tcp_port : resolver->udp_port;
}

static __always_inline bool is_alive(void)
{
	__u32 index = 0;
	__u64 *until = bpf_map_lookup_elem(&resolving, &index);

	return until && bpf_ktime_get_ns() < *until;
}

/* An agent that was killed has left the row, but no socket. */
static __always_inline bool is_listening(struct bpf_sock_addr *ctx, __be16 port)
{
	struct bpf_sock_tuple tuple = {
		.ipv4 = {.saddr = RESOLVER_ADDR, .daddr = RESOLVER_ADDR, .dport = port},
	};
	struct bpf_sock *listener;

	if (ctx->protocol == IPPROTO_TCP)
		listener =
			bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		listener =
			bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!listener)
		return false;
	bpf_sk_release(listener);
	return true;
}

/* lead_question() - what dials the resolver, to the agent's listener, if the agent answers. */
static __always_inline void lead_question(struct bpf_sock_addr *ctx)
{
	__be16 port = answering_port(ctx);

	if (!port || ctx->sk->src_ip4 == RESOLVER_ADDR || !is_alive() || !is_listening(ctx, port))
		return;
	ctx->user_port = port;
}

/* show_resolver() - in the place of the agent's listener. */
static __always_inline bool show_resolver(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	if (!at_resolver(from) || !from->port || answering_port(ctx) != from->port)
		return false;
	ctx->user_port = RESOLVER_PORT;
	return true;
}

#endif
