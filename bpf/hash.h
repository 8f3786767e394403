/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hashes of who asks. They depend on nothing of this node, so that every node and
 * every hook chooses alike; src/model/hash.ts is the same in TypeScript. Whoever can
 * choose its port or address can choose its backend: that is no secret to keep.
 *
 * splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
 */
#ifndef FAIRLEAD_HASH_H
#define FAIRLEAD_HASH_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>

#define HASH_START 0x9e3779b97f4a7c15ULL

static __always_inline __u64 splitmix64(__u64 state)
{
	state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
	state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
	return state ^ (state >> 31);
}

static __always_inline __u64 hash_words(__u64 state, __u32 high, __u32 low)
{
	return splitmix64(state ^ ((__u64)high << 32 | low));
}

/* hash_addr() - go on with an address: its words as numbers, two at a time. */
static __always_inline __u64 hash_addr(__u64 state, const __be32 addr[4])
{
	state = hash_words(state, bpf_ntohl(addr[0]), bpf_ntohl(addr[1]));
	return hash_words(state, bpf_ntohl(addr[2]), bpf_ntohl(addr[3]));
}

/* hash_flow() - of a 5-tuple; @to is what the client dialled. */
static __always_inline __u64 hash_flow(const __be32 from[4], __be16 from_port, const __be32 to[4],
				       __be16 to_port, __u8 protocol)
{
	__u64 state = hash_addr(hash_addr(HASH_START, from), to);

	return hash_words(state, (__u32)bpf_ntohs(from_port) << 16 | bpf_ntohs(to_port), protocol);
}

/* hash_place() - a number below @count, by multiplying: the bias is below @count / 2^32. */
static __always_inline __u32 hash_place(__u64 hash, __u32 count)
{
	return ((hash >> 32) * count) >> 32;
}

#endif
