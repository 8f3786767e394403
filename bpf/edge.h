/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the XDP program of a NIC tells the tc program behind it, in front of the frame.
 * Without that metadata a packet is none of ours.
 */
#ifndef FAIRLEAD_EDGE_H
#define FAIRLEAD_EDGE_H

#include <linux/types.h>

#define EDGE_MAGIC 0x666c6561

enum edge_step {
	EDGE_DECIDE = 1, /* to one of our addresses, without a flow that is known to XDP */
	EDGE_ROUTE = 2,	 /* translated; routing and neighbours are left to do */
};

struct edge_note {
	__u32 magic;
	__u32 step; /* enum edge_step */
};

#endif
