// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a measured XDP program is called by, and the program that does nothing. */
#include "restore.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* A verdict that no measured program gives: the tail call failed. */
#define VERDICT_NO_SUBJECT 99

/*
 * shrink() - take away what the last run put in front: a tunnel's header, metadata.
 *
 * Both helpers are called whether or not there is anything to take, so that they are in the
 * floor too.
 */
static __always_inline bool shrink(struct xdp_md *ctx)
{
	__u64 bytes = (long)ctx->data_end, meta = (long)ctx->data;

	bytes -= (long)ctx->data;
	asm volatile("" : "+r"(bytes));
	if (bpf_xdp_adjust_head(ctx, (int)bytes - (int)frame_bytes))
		return false;
	meta = (long)ctx->data;
	meta -= (long)ctx->data_meta;
	asm volatile("" : "+r"(meta));
	return !bpf_xdp_adjust_meta(ctx, (int)meta);
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	if (!shrink(ctx) || !restore((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return VERDICT_NO_SUBJECT;
	bpf_tail_call(ctx, &subject, 0);
	return VERDICT_NO_SUBJECT;
}

SEC("xdp")
int pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}
