/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What traffic.c tells the generator, and what the generator counts. */
#ifndef FAIRLEAD_BENCH_FRAMES_H
#define FAIRLEAD_BENCH_FRAMES_H

#include <linux/types.h>

/* As BPF_F_TEST_XDP_LIVE_FRAMES has them; times are read between batches alone. */
#define BATCH_FRAMES 64
#define PAYLOAD_BYTES 22 /* a frame of 64 bytes */

/* Read-only to the programs. */
struct frame_settings {
	__u8 to_mac[6];
	__u8 from_mac[6];
	__be32 from;
	__be32 to;
	__be16 port;
	__u16 pad;
	__u32 ifindex; /* of the interface that the frames leave by */
	__u32 flow_mask;
	__u32 first_flow;
	__u32 pad2;
	__u64 warm;  /* frames before any count */
	__u64 count; /* frames that count; a multiple of BATCH_FRAMES, as `warm` is */
};

struct frame_tally {
	__u64 sent;
	__u64 taken;
	__u64 begun_ns;
	__u64 ended_ns;
};

#endif
