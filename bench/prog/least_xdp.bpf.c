// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The least DNAT of the XDP hook: checksums are complete there and patched in place. */
#include "least.h"

/* Leave the packet to the tc program behind, with 8 bytes of metadata, instead of sending it. */
const volatile __u8 hands_on = 0;

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool patch_l4(void *ctx __attribute__((unused)), void *data, void *end,
				     __u32 l4, __u8 protocol, __u32 change, __be16 was, __be16 now,
				     const bool v6 __attribute__((unused)))
{
	__u16 *check = data + l4 + (protocol == IPPROTO_UDP ? 6 : 16);
	__u64 sum;

	if ((void *)(check + 1) > end)
		return false;
	if (protocol == IPPROTO_UDP && !*check)
		return true;
	sum = (__u64)(__u16) ~*check + change + (__u16)~was + now;
	*check = ~fold16(fold32(sum));
	if (protocol == IPPROTO_UDP && !*check)
		*check = 0xffff;
	return true;
}

static __always_inline int hand_on(struct xdp_md *ctx)
{
	__u32 *word;

	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_DROP;
	word = (void *)(long)ctx->data_meta;
	if ((void *)(word + 2) > (void *)(long)ctx->data)
		return XDP_DROP;
	word[0] = 1;
	word[1] = 2;
	return XDP_PASS;
}

SEC("xdp")
int least(struct xdp_md *ctx)
{
	if (!least_run(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_DROP;
	return hands_on ? hand_on(ctx) : XDP_TX;
}
