// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Ends the sockets that are connected to backends which were removed: iterators over the
 * TCP and UDP sockets of one network namespace, the one that they are read in.
 */
#include "orphan.h"

char _license[] SEC("license") = "Dual BSD/GPL";

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

/* Since the object was loaded. */
__u64 aborted_tcp;
__u64 aborted_udp;

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
