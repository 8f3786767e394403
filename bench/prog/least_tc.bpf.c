// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least DNAT of the tc hook. In tc a checksum may be left to a device, so the one
 * of layer 4 goes through the kernel's function.
 */
#include <linux/pkt_cls.h>

#include "least.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* BPF_F_IPV6 where the kernel has it, else 0, as in bpf/config.h. */
const volatile __u64 csum_ipv6_flag = 0;

static __always_inline bool patch_l4(void *ctx, void *data __attribute__((unused)),
				     void *end __attribute__((unused)), __u32 l4, __u8 protocol,
				     __u32 change, __be16 was, __be16 now, const bool v6)
{
	__u64 flags = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 check = l4 + (protocol == IPPROTO_UDP ? 6 : 16);

	if (bpf_l4_csum_replace(ctx, check, 0, change,
				flags | BPF_F_PSEUDO_HDR | (v6 ? csum_ipv6_flag : 0)))
		return false;
	return was == now || !bpf_l4_csum_replace(ctx, check, was, now, flags | sizeof(now));
}

SEC("tc")
int least(struct __sk_buff *skb)
{
	if (!least_run(skb, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}
