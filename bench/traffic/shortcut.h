/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What shortcut.c tells the programs that go past the stack. */
#ifndef FAIRLEAD_BENCH_SHORTCUT_H
#define FAIRLEAD_BENCH_SHORTCUT_H

#include <linux/types.h>

/* Read-only to the programs. */
struct shortcut_settings {
	__u8 to_backend[12]; /* MAC addresses, of the receiver first */
	__u8 to_client[12];
	__be32 vip;
	__be32 backend;
	__u32 backend_ifindex; /* the host's end of the container's veth */
	__u32 client_ifindex;  /* the NIC */
	__be16 port;
	__u16 pad;
};

#endif
