/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that a stateful DNAT can do for a packet of a known flow: parse, one LRU
 * lookup by the five-tuple, rewrite of address and ports, checksums. No statistics, no
 * timers, no service, no options, no extension headers, no fragments; what it cannot
 * read it lets pass. With `inserts` it stores one row for a flow that it does not know.
 */
#ifndef FAIRLEAD_BENCH_LEAST_H
#define FAIRLEAD_BENCH_LEAST_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Rewrite the source instead, as for a reply. */
const volatile __u8 rewrites_source = 0;

/* A flow that is not known gets a row with this target. */
const volatile __u8 inserts = 0;
const volatile __be32 new_addr[4] = {0};
const volatile __be16 new_port = 0;

struct tuple4 {
	__be32 src;
	__be32 dst;
	__be32 ports;
	__u32 protocol;
};

struct tuple6 {
	__be32 src[4];
	__be32 dst[4];
	__be32 ports;
	__u32 protocol;
};

struct target4 {
	__be32 addr;
	__be16 port;
	__u16 pad;
};

struct target6 {
	__be32 addr[4];
	__be16 port;
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct tuple4);
	__type(value, struct target4);
} least4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct tuple6);
	__type(value, struct target6);
} least6 SEC(".maps");

static __always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold16(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* insert() - returns the verdict-free result: a row was stored. */
static __always_inline bool insert4(const struct tuple4 *key, struct target4 *to)
{
	to->addr = new_addr[3];
	to->port = new_port;
	to->pad = 0;
	return !bpf_map_update_elem(&least4, key, to, BPF_ANY);
}

static __always_inline bool insert6(const struct tuple6 *key, struct target6 *to)
{
	int i;

	for (i = 0; i < 4; i++)
		to->addr[i] = new_addr[i];
	to->port = new_port;
	to->pad = 0;
	return !bpf_map_update_elem(&least6, key, to, BPF_ANY);
}

/*
 * patch_l4() - the hook's own: checksum of layer 4 by what changes in addresses and ports.
 * @change: what to add for the addresses
 */
static __always_inline bool patch_l4(void *ctx, void *data, void *end, __u32 l4, __u8 protocol,
				     __u32 change, __be16 was, __be16 now, const bool v6);

static __always_inline bool least4_run(void *ctx, void *data, void *end)
{
	struct iphdr *ip = data + ETH_HLEN;
	struct target4 fresh, *to;
	struct tuple4 key;
	__be16 *port, was;
	__u32 change;
	__be32 *addr;

	if ((void *)(ip + 1) + 8 > end || ip->ihl != 5 || (ip->frag_off & bpf_htons(0x3fff)) ||
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return true;
	key.src = ip->saddr;
	key.dst = ip->daddr;
	key.ports = *(__be32 *)(ip + 1);
	key.protocol = ip->protocol;
	to = bpf_map_lookup_elem(&least4, &key);
	if (!to) {
		if (!inserts || !insert4(&key, &fresh))
			return true;
		to = &fresh;
	}
	addr = rewrites_source ? &ip->saddr : &ip->daddr;
	port = (__be16 *)(ip + 1) + (rewrites_source ? 0 : 1);
	change = fold32((__u64)to->addr + (__u32) ~*addr);
	ip->check = ~fold16((__u32)(__u16)~ip->check + fold16(change));
	*addr = to->addr;
	was = *port;
	*port = to->port;
	return patch_l4(ctx, data, end, ETH_HLEN + sizeof(*ip), key.protocol, change, was, to->port,
			false);
}

static __always_inline bool least6_run(void *ctx, void *data, void *end)
{
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct target6 fresh, *to;
	struct tuple6 key;
	__be16 *port, was;
	__be32 *addr;
	__u64 sum;
	int i;

	if ((void *)(ip + 1) + 8 > end ||
	    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return true;
	for (i = 0; i < 4; i++) {
		key.src[i] = ip->saddr.in6_u.u6_addr32[i];
		key.dst[i] = ip->daddr.in6_u.u6_addr32[i];
	}
	key.ports = *(__be32 *)(ip + 1);
	key.protocol = ip->nexthdr;
	to = bpf_map_lookup_elem(&least6, &key);
	if (!to) {
		if (!inserts || !insert6(&key, &fresh))
			return true;
		to = &fresh;
	}
	addr = rewrites_source ? ip->saddr.in6_u.u6_addr32 : ip->daddr.in6_u.u6_addr32;
	port = (__be16 *)(ip + 1) + (rewrites_source ? 0 : 1);
	sum = 0;
	for (i = 0; i < 4; i++) {
		sum += (__u64)to->addr[i] + (__u32)~addr[i];
		addr[i] = to->addr[i];
	}
	was = *port;
	*port = to->port;
	return patch_l4(ctx, data, end, ETH_HLEN + sizeof(*ip), key.protocol, fold32(sum), was,
			to->port, true);
}

/* least_known4(), least_known6() - is there a row? For a packet that stays as it was dialled. */
static __always_inline bool least_known4(void *data, void *end)
{
	struct iphdr *ip = data + ETH_HLEN;
	struct tuple4 key;

	if ((void *)(ip + 1) + 8 > end || ip->ihl != 5 || (ip->frag_off & bpf_htons(0x3fff)) ||
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return false;
	key.src = ip->saddr;
	key.dst = ip->daddr;
	key.ports = *(__be32 *)(ip + 1);
	key.protocol = ip->protocol;
	return bpf_map_lookup_elem(&least4, &key);
}

static __always_inline bool least_known6(void *data, void *end)
{
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tuple6 key;
	int i;

	if ((void *)(ip + 1) + 8 > end ||
	    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return false;
	for (i = 0; i < 4; i++) {
		key.src[i] = ip->saddr.in6_u.u6_addr32[i];
		key.dst[i] = ip->daddr.in6_u.u6_addr32[i];
	}
	key.ports = *(__be32 *)(ip + 1);
	key.protocol = ip->nexthdr;
	return bpf_map_lookup_elem(&least6, &key);
}

/* least_run() - false when the packet is half rewritten: drop it. */
static __always_inline bool least_run(void *ctx, void *data, void *end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return true;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return least4_run(ctx, data, end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return least6_run(ctx, data, end);
	return true;
}

#endif
