/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Internet checksums: RFC 1071, incremental update: RFC 1624.
 *
 * Sums are ones' complement, 64 bits wide until folded, of words in memory order,
 * so they need no byte swap.
 */
#ifndef FAIRLEAD_CSUM_H
#define FAIRLEAD_CSUM_H

#include "config.h"
#include "net.h"

#define TCP_CHECK_OFFSET 16
#define UDP_CHECK_OFFSET 6

static __always_inline __u32 csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* csum_fold16() - the sum itself, not its complement. */
static __always_inline __u16 csum_fold16(__u64 sum)
{
	__u32 folded = csum_fold32(sum);

	folded = (folded & 0xffff) + (folded >> 16);
	return (folded & 0xffff) + (folded >> 16);
}

/* csum_adjust() - a checksum field of a sum to which @change is added. */
static __always_inline __u16 csum_adjust(__u16 check, __u32 change)
{
	__u32 sum = (__u16)~check + (change & 0xffff) + (change >> 16);

	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline __u64 csum_addr(const struct addr *addr, const bool v6)
{
	__u64 sum = addr->words[3];

	if (v6)
		sum += (__u64)addr->words[0] + addr->words[1] + addr->words[2];
	return sum;
}

/* csum_addr_change() - what to add to a sum in which @from becomes @to. */
static __always_inline __u32 csum_addr_change(const struct addr *from, const struct addr *to,
					      const bool v6)
{
	__u64 sum = csum_addr(to, v6) + (__u32)~from->words[3];

	if (v6)
		sum += (__u64)(__u32)~from->words[0] + (__u32)~from->words[1] +
		       (__u32)~from->words[2];
	return csum_fold32(sum);
}

static __always_inline __u64 csum_pseudo(const struct addr *a, const struct addr *b, __u8 protocol,
					 __u32 l4_bytes, const bool v6)
{
	return csum_addr(a, v6) + csum_addr(b, v6) + bpf_htonl(protocol) + bpf_htonl(l4_bytes);
}

/* csum_words() - @bytes is a constant, a multiple of 4. */
static __always_inline __u64 csum_words(const void *from, const __u32 bytes)
{
	const __u32 *words = from;
	__u64 sum = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < bytes / 4; i++)
		sum += words[i];
	return sum;
}

/*
 * csum_left_to_device() - is the checksum still to be completed (CHECKSUM_PARTIAL)?
 * @offset: of the checksum field; it is left as it was
 *
 * No helper tells. But a difference outside the pseudo-header is applied to a
 * complete checksum and skipped for one that a device completes later: try one.
 *
 * Returns 1 or 0, or a negative errno.
 */
static __always_inline int csum_left_to_device(struct __sk_buff *skb, __u32 offset)
{
	__u16 before, after;

	if (bpf_skb_load_bytes(skb, offset, &before, sizeof(before)) ||
	    bpf_l4_csum_replace(skb, offset, 0, bpf_htons(0x1234), 2) ||
	    bpf_skb_load_bytes(skb, offset, &after, sizeof(after)))
		return -1;
	if (before == after)
		return 1;
	return bpf_skb_store_bytes(skb, offset, &before, sizeof(before), 0);
}

#endif
