// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Lists the sockets that abort.bpf.c would end, for kernels on which a program cannot (before
 * 6.5): the agent has them ended by their addresses.
 */
#include <linux/in.h>

#include "orphan.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* What is written for each; never a part of one. */
struct orphan {
	__be32 local_addr[4];
	__be32 remote_addr[4];
	__u16 local_port; /* in the host's order, as the kernel has it */
	__be16 remote_port;
	__u16 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u16 pad;
};

/* Without a variable of its type the record does not reach BTF. */
const volatile struct orphan export_orphan SEC(".rodata.types");

static __always_inline void mapped_set(__be32 to[4], __be32 addr)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = addr;
}

static __always_inline void copy_words(__be32 to[4], const struct in6_addr *from)
{
	to[0] = from->in6_u.u6_addr32[0];
	to[1] = from->in6_u.u6_addr32[1];
	to[2] = from->in6_u.u6_addr32[2];
	to[3] = from->in6_u.u6_addr32[3];
}

static __always_inline void tell(struct bpf_iter_meta *meta, struct sock_common *sk, __u16 protocol)
{
	struct orphan row = {
		.local_port = sk->skc_num,
		.remote_port = sk->skc_dport,
		.protocol = protocol,
	};

	if (sk->skc_family == AF_INET) {
		mapped_set(row.local_addr, sk->skc_rcv_saddr);
		mapped_set(row.remote_addr, sk->skc_daddr);
	} else {
		copy_words(row.local_addr, &sk->skc_v6_rcv_saddr);
		copy_words(row.remote_addr, &sk->skc_v6_daddr);
	}
	bpf_seq_write(meta->seq, &row, sizeof(row));
}

SEC("iter/tcp")
int list_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;

	if (sk && is_orphan(sk))
		tell(ctx->meta, sk, IPPROTO_TCP);
	return 0;
}

SEC("iter/udp")
int list_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;

	if (sk && is_orphan(sk))
		tell(ctx->meta, sk, IPPROTO_UDP);
	return 0;
}
