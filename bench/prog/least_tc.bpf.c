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

/* Look up where the packet goes and put it there, past the bridge, instead of passing it. */
const volatile __u8 past_bridge = 0;

struct place4 {
	__u32 scope;
	__be32 addr;
};

struct place6 {
	__u32 scope;
	__be32 addr[4];
};

struct place {
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct place4);
	__type(value, struct place);
} places4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct place6);
	__type(value, struct place);
} places6 SEC(".maps");

static __always_inline int put(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;
	struct place *place;
	int i;

	if ((void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct place4 key = {};

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		key.addr = ip->daddr;
		place = bpf_map_lookup_elem(&places4, &key);
	} else {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct place6 key = {};

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
		place = bpf_map_lookup_elem(&places6, &key);
	}
	if (!place)
		return TC_ACT_SHOT;
	for (i = 0; i < ETH_ALEN; i++)
		eth->h_dest[i] = place->mac[i];
	return bpf_redirect_peer(place->ifindex, 0);
}

SEC("tc")
int least(struct __sk_buff *skb)
{
	if (!least_run(skb, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_SHOT;
	return past_bridge ? put(skb) : TC_ACT_UNSPEC;
}
