/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which sockets are orphans: connected by the connect hook to a backend that was removed.
 *
 * A socket is known by what the hook wrote to its storage, and only if it is still
 * connected there: connect(AF_UNSPEC) passes no hook.
 */
#ifndef FAIRLEAD_ORPHAN_H
#define FAIRLEAD_ORPHAN_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "backend.h"
#include "maps.h"

#define AF_INET 2
#define LISTENING 10 /* TCP_LISTEN */
#define CLOSED 7     /* TCP_CLOSE */
#define TIME_WAIT 6
#define NEW_SYN_RECV 12

/* The kernel's, cut down to what is read; CO-RE finds the offsets at load. */
struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} __attribute__((preserve_access_index));

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));

struct udp_sock;
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} __attribute__((preserve_access_index));

/* is_connected_to() - does the kernel say the same as the connect hook? */
static __always_inline bool is_connected_to(const struct sock_common *sk,
					    const struct sock_peer *peer)
{
	if (sk->skc_dport != peer->backend_port)
		return false;
	if (sk->skc_family == AF_INET)
		return sk->skc_daddr == peer->backend_addr[3];
	return sk->skc_v6_daddr.in6_u.u6_addr32[0] == peer->backend_addr[0] &&
	       sk->skc_v6_daddr.in6_u.u6_addr32[1] == peer->backend_addr[1] &&
	       sk->skc_v6_daddr.in6_u.u6_addr32[2] == peer->backend_addr[2] &&
	       sk->skc_v6_daddr.in6_u.u6_addr32[3] == peer->backend_addr[3];
}

static __always_inline bool is_orphan(struct sock_common *sk)
{
	struct sock_peer *peer;
	__u8 state = sk->skc_state;

	/* Those of the latter two are not whole sockets: they have no storage. */
	if (state == LISTENING || state == CLOSED || state == TIME_WAIT || state == NEW_SYN_RECV)
		return false;
	peer = bpf_sk_storage_get(&sock_peers, sk, NULL, 0);
	return peer && is_connected_to(sk, peer) &&
	       !backend_alive(peer->backend, peer->service, peer->incarnation);
}

#endif
