/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the verifier refuses: a value used without asking whether it is there. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} values SEC(".maps");

SEC("tc")
int careless(struct __sk_buff *skb)
{
	__u32 key = skb->len;
	__u32 *value = bpf_map_lookup_elem(&values, &key);

	return *value;
}

char _license[] SEC("license") = "GPL";
