/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Routing a packet as a router would, past netfilter: a firewall in front of containers
 * sees neither half of a connection that came in by a NIC. The kernel's routes and
 * neighbours decide; a packet that they would not forward is left to the stack.
 */
#ifndef FAIRLEAD_ROUTE_H
#define FAIRLEAD_ROUTE_H

#include "csum.h"
#include "forward.h"
#include "parse.h"

#define TTL_OFFSET (ETH_HLEN + 8)
#define HOP_LIMIT_OFFSET (ETH_HLEN + 7)

/* The least TTL that leaves something after one router. */
#define LEAST_TTL 2

static __always_inline int ttl_decrement(struct __sk_buff *skb, const bool v6)
{
	__u8 pair[2]; /* IPv4: TTL and protocol, one word of the header checksum */
	__u16 was, now;

	if (bpf_skb_load_bytes(skb, v6 ? HOP_LIMIT_OFFSET : TTL_OFFSET, pair, sizeof(pair)))
		return -1;
	was = bpf_htons(pair[0] << 8 | pair[1]);
	pair[0]--;
	now = bpf_htons(pair[0] << 8 | pair[1]);
	if (v6)
		return bpf_skb_store_bytes(skb, HOP_LIMIT_OFFSET, pair, 1, BPF_F_RECOMPUTE_CSUM);
	if (bpf_l3_csum_replace(skb, ETH_HLEN + 10, was, now, 2))
		return -1;
	return bpf_skb_store_bytes(skb, TTL_OFFSET, pair, 1, 0);
}

/* route_bytes() - the longest packet, from the IP header on, that this one becomes. */
static __always_inline __u32 route_bytes(struct __sk_buff *skb, const struct packet *pkt)
{
	if (skb->gso_size)
		return pkt->l4_offset - ETH_HLEN + pkt->l4_bytes + skb->gso_size;
	return skb->len - ETH_HLEN;
}

/* A neighbour that is not resolved is a way too: bpf_redirect_neigh() asks for it. */
static __always_inline bool is_way(long result)
{
	return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/*
 * route_lookup() - where the stack would forward a packet between these addresses.
 * @ctx:   of tc or XDP
 * @bytes: 0 to leave the MTU out of account
 * @fib:   interface and next hop; usable only when the result is_way()
 *
 * Returns what bpf_fib_lookup() does.
 */
static __always_inline long route_lookup(void *ctx, __u32 ifindex, struct bpf_fib_lookup *fib,
					 const struct addr *src, const struct addr *dst,
					 __u32 bytes, const bool v6)
{
	fib->ifindex = ifindex;
	fib->tot_len = bytes > 0xffff ? 0xffff : bytes;
	if (v6) {
		fib->family = ADDRESS_FAMILY_6;
		addr_copy(fib->ipv6_src, src->words);
		addr_copy(fib->ipv6_dst, dst->words);
	} else {
		fib->family = ADDRESS_FAMILY_4;
		fib->ipv4_src = src->words[3];
		fib->ipv4_dst = dst->words[3];
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

static __always_inline bool route_find(struct __sk_buff *skb, struct bpf_fib_lookup *fib,
				       const struct addr *src, const struct addr *dst, __u32 bytes,
				       const bool v6)
{
	return is_way(route_lookup(skb, skb->ifindex, fib, src, dst, bytes, v6));
}

static __always_inline int route_out(struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh nexthop = {.nh_family = fib->family};

	/* An IPv4 route may have an IPv6 next hop; the lookup says so by the family. */
	if (fib->family == ADDRESS_FAMILY_6)
		addr_copy(nexthop.ipv6_nh, fib->ipv6_dst);
	else
		nexthop.ipv4_nh = fib->ipv4_dst;
	return bpf_redirect_neigh(fib->ifindex, &nexthop, sizeof(nexthop), 0);
}

/*
 * route() - the verdict on a translated packet.
 *
 * One that would die here, or that routing does not forward (the backend is this node
 * itself), goes on through the stack, which counts the hop by itself.
 */
static __always_inline int route(struct __sk_buff *skb, const bool v6)
{
	struct bpf_fib_lookup fib = {};
	const struct veth *veth;
	union veth_key key;
	struct addr ends[2];
	__be32 pair[2];
	long result;
	__u8 ttl;

	if (bpf_skb_load_bytes(skb, v6 ? HOP_LIMIT_OFFSET : TTL_OFFSET, &ttl, sizeof(ttl)))
		return VERDICT_PASS;
	if (v6) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + 8, ends, sizeof(ends)))
			return VERDICT_PASS;
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + 12, pair, sizeof(pair)))
			return VERDICT_PASS;
		addr_set4(&ends[0], pair[0]);
		addr_set4(&ends[1], pair[1]);
	}
	result = route_lookup(skb, skb->ifindex, &fib, &ends[0], &ends[1], 0, v6);
	if (ttl < LEAST_TTL || !is_way(result))
		return forward_stack(skb);
	if (ttl_decrement(skb, v6))
		return VERDICT_DROP;
	if (result == BPF_FIB_LKUP_RET_SUCCESS) {
		veth = veth_of(&key, VETH_SCOPE_BRIDGE | fib.ifindex, ends[1].words, v6);
		if (veth)
			return veth_enter(skb, veth, fib.smac);
	}
	return route_out(&fib);
}

__noinline int route4(struct __sk_buff *skb)
{
	return route(skb, false);
}

__noinline int route6(struct __sk_buff *skb)
{
	return route(skb, true);
}

#endif
