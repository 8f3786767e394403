/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The frame that a measured program is given: a template's headers written over what
 * the last run left, with the client's address and port of the next flow in turn.
 *
 * BPF_PROG_TEST_RUN repeats a program on one packet. One that translates it would see
 * its own output from the second run on, and measure a miss.
 */
#ifndef FAIRLEAD_BENCH_RESTORE_H
#define FAIRLEAD_BENCH_RESTORE_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TEMPLATE_BYTES 96

/* The first port of a client, and how many of them one address uses. */
#define FIRST_PORT 1024
#define PORT_BITS 14

enum shape { SHAPE_TCP4, SHAPE_UDP4, SHAPE_TCP6, SHAPE_UDP6, SHAPE_ARP };

const volatile enum shape shape = SHAPE_TCP4;
const volatile __u8 template[TEMPLATE_BYTES] = {0};
const volatile __u32 frame_bytes = 0;

/* The client is the receiver, as in a reply. */
const volatile __u8 client_is_destination = 0;

/* Flows in turn, less one; a power of two less one. All ones: every packet a new flow. */
const volatile __u32 flow_mask = 0;

__u32 turn = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

/*
 * The stores are those of fields: a load that straddles two stores would wait for both,
 * and be charged to the measured program.
 */
#define PUT(type, at) (*(type *)(data + (at)) = *(const volatile type *)(template + (at)))

static __always_inline void restore_head(void *data)
{
	PUT(__u64, 0);
	PUT(__u32, 8);
	PUT(__u16, 12);
}

static __always_inline bool restore4(void *data, void *end, const bool tcp)
{
	if (data + (tcp ? 54 : 42) > end)
		return false;
	restore_head(data);
	PUT(__u64, 14);
	PUT(__u16, 22);
	PUT(__u16, 24);
	PUT(__u32, 26);
	PUT(__u32, 30);
	PUT(__u32, 34);
	PUT(__u32, 38);
	if (tcp) {
		PUT(__u32, 42);
		PUT(__u32, 46);
		PUT(__u32, 50);
	}
	return true;
}

static __always_inline bool restore6(void *data, void *end, const bool tcp)
{
	if (data + (tcp ? 74 : 62) > end)
		return false;
	restore_head(data);
	PUT(__u64, 14);
	PUT(__u32, 22);
	PUT(__u32, 26);
	PUT(__u32, 30);
	PUT(__u32, 34);
	PUT(__u32, 38);
	PUT(__u32, 42);
	PUT(__u32, 46);
	PUT(__u32, 50);
	PUT(__u32, 54);
	PUT(__u32, 58);
	if (tcp) {
		PUT(__u32, 62);
		PUT(__u32, 66);
		PUT(__u32, 70);
	}
	return true;
}

static __always_inline bool restore_arp(void *data, void *end)
{
	if (data + 42 > end)
		return false;
	restore_head(data);
	PUT(__u64, 14);
	PUT(__u32, 22);
	PUT(__u16, 26);
	PUT(__u32, 28);
	PUT(__u32, 32);
	PUT(__u16, 36);
	PUT(__u32, 38);
	return true;
}

/* next_flow() - the low half of the client's address and its port. */
static __always_inline bool next_flow(void *data, void *end, const bool v6)
{
	const __u32 source = v6 ? 36 : 28, l4 = v6 ? 54 : 34, addr_bytes = v6 ? 16 : 4;
	__u32 address = source + (client_is_destination ? addr_bytes : 0);
	__u32 port = l4 + (client_is_destination ? 2 : 0);
	__u32 flow = turn++ & flow_mask;

	if (data + l4 + 4 > end)
		return false;
	*(__be16 *)(data + address) = bpf_htons(flow >> PORT_BITS);
	*(__be16 *)(data + port) = bpf_htons(FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)));
	return true;
}

/* restore() - false when the frame is shorter than its shape. */
static __always_inline bool restore(void *data, void *end)
{
	switch (shape) {
	case SHAPE_TCP4:
		return restore4(data, end, true) && next_flow(data, end, false);
	case SHAPE_UDP4:
		return restore4(data, end, false) && next_flow(data, end, false);
	case SHAPE_TCP6:
		return restore6(data, end, true) && next_flow(data, end, true);
	case SHAPE_UDP6:
		return restore6(data, end, false) && next_flow(data, end, true);
	default:
		return restore_arp(data, end);
	}
}

#endif
