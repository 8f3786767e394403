// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a measured XDP program is called by, and the program that does nothing. */
#include "restore.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* A verdict that no measured program gives: the tail call failed. */
#define VERDICT_NO_SUBJECT 99

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	if (!restore((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return VERDICT_NO_SUBJECT;
	bpf_tail_call(ctx, &subject, 0);
	return VERDICT_NO_SUBJECT;
}

SEC("xdp")
int pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}
