// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least DNAT of the XDP hook: checksums are complete there and patched in place. And the
 * least that sends a packet to its next hop: the same lookup, the kernel's routes and
 * neighbours, then other MAC addresses, or a header of a tunnel too.
 */
#include "least.h"

/* Leave the packet to the tc program behind, with 8 bytes of metadata, instead of sending it. */
const volatile __u8 hands_on = 0;

/* Send the packet to a next hop instead. */
enum beyond {
	BEYOND_NONE,
	BEYOND_MAC,    /* as it was dialled, a hop less */
	BEYOND_TUNNEL, /* translated, in IPIP or IP6IP6 */
};

const volatile __u8 beyond = BEYOND_NONE;
const volatile __be32 own_addr[4] = {0};
const volatile __be32 next_addr[4] = {0};

#define FAMILY_4 2
#define FAMILY_6 10
#define TUNNEL_TTL 64

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

/* find_next() - @bytes: of the packet that is to leave, from its IP header on */
static __always_inline bool find_next(struct xdp_md *ctx, struct bpf_fib_lookup *fib, __u32 bytes,
				      const bool v6)
{
	int i;

	fib->family = v6 ? FAMILY_6 : FAMILY_4;
	fib->ifindex = ctx->ingress_ifindex;
	fib->tot_len = bytes;
	if (v6) {
		for (i = 0; i < 4; i++) {
			fib->ipv6_src[i] = own_addr[i];
			fib->ipv6_dst[i] = next_addr[i];
		}
	} else {
		fib->ipv4_src = own_addr[3];
		fib->ipv4_dst = next_addr[3];
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_SUCCESS;
}

static __always_inline void put_ethernet(struct ethhdr *eth, const struct bpf_fib_lookup *fib,
					 const bool v6)
{
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

static __always_inline int by_mac(struct xdp_md *ctx, const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct bpf_fib_lookup fib = {};
	struct iphdr *ip = data + ETH_HLEN;

	if (!(v6 ? least_known6(data, end) : least_known4(data, end)))
		return XDP_PASS;
	if (!find_next(ctx, &fib, end - data - ETH_HLEN, v6))
		return XDP_DROP;
	if (data + ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(*ip)) > end)
		return XDP_DROP;
	if (v6) {
		((struct ipv6hdr *)ip)->hop_limit--;
	} else {
		ip->ttl--;
		ip->check = ~fold16((__u32)(__u16)~ip->check + (__u16)~bpf_htons(0x0100));
	}
	put_ethernet(data, &fib, v6);
	return XDP_TX;
}

static __always_inline void put_outer4(struct iphdr *ip, __u32 bytes)
{
	__u32 sum;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(bytes);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = TUNNEL_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = own_addr[3];
	ip->daddr = next_addr[3];
	sum = bpf_htons(0x4500) + (__u32)ip->tot_len + ip->frag_off +
	      bpf_htons(TUNNEL_TTL << 8 | IPPROTO_IPIP);
	ip->check = ~fold16(fold32((__u64)sum + ip->saddr + ip->daddr));
}

static __always_inline void put_outer6(struct ipv6hdr *ip, __u32 bytes)
{
	int i;

	*(__be32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(bytes - sizeof(*ip));
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = TUNNEL_TTL;
	for (i = 0; i < 4; i++) {
		ip->saddr.in6_u.u6_addr32[i] = own_addr[i];
		ip->daddr.in6_u.u6_addr32[i] = next_addr[i];
	}
}

static __always_inline int in_tunnel(struct xdp_md *ctx, const bool v6)
{
	const int header = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 bytes = end - data - ETH_HLEN + header;
	struct bpf_fib_lookup fib = {};

	if (!least_run(ctx, data, end) || !find_next(ctx, &fib, bytes, v6) ||
	    bpf_xdp_adjust_head(ctx, -header))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + header > end)
		return XDP_DROP;
	put_ethernet(data, &fib, v6);
	if (v6)
		put_outer6(data + ETH_HLEN, bytes);
	else
		put_outer4(data + ETH_HLEN, bytes);
	return XDP_TX;
}

static __always_inline int send_on(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return beyond == BEYOND_MAC ? by_mac(ctx, false) : in_tunnel(ctx, false);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return beyond == BEYOND_MAC ? by_mac(ctx, true) : in_tunnel(ctx, true);
	return XDP_PASS;
}

SEC("xdp")
int least(struct xdp_md *ctx)
{
	if (beyond)
		return send_on(ctx);
	if (!least_run(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_DROP;
	return hands_on ? hand_on(ctx) : XDP_TX;
}
