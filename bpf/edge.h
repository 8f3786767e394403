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
	EDGE_DECIDE = 1,	/* to one of our addresses, and nothing was done to it */
	EDGE_ROUTE = 2,		/* translated; routing and neighbours are left to do */
	EDGE_REPLY = 3,		/* came in a tunnel: to be translated back if it is a reply */
	EDGE_ERROR = 4,		/* an error to this node, perhaps about a tunnel of its own */
	EDGE_TOO_BIG = 0x10000, /* and an MTU: what its sender is to be told */
};

struct edge_note {
	__u32 magic;
	__u32 step; /* enum edge_step */
};

#endif
