// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Ends the sockets that are connected to backends which were removed: iterators over the
 * TCP and UDP sockets of one network namespace, the one that they are read in.
 *
 * A socket is known by what the connect hook wrote to its storage, and only if it is
 * still connected there: connect(AF_UNSPEC) passes no hook.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "backend.h"
#include "maps.h"

char _license[] SEC("license") = "Dual BSD/GPL";

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
	__be16 skc_dport;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
} __attribute__((preserve_access_index));

struct udp_sock;
struct bpf_iter_meta;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

/* Since the object was loaded. */
__u64 aborted_tcp;
__u64 aborted_udp;

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

SEC("iter/tcp")
int abort_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;

	if (sk && is_orphan(sk) && !bpf_sock_destroy(sk))
		__sync_fetch_and_add(&aborted_tcp, 1);
	return 0;
}

SEC("iter/udp")
int abort_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;

	if (sk && is_orphan(sk) && !bpf_sock_destroy(sk))
		__sync_fetch_and_add(&aborted_udp, 1);
	return 0;
}
