/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A container of this node is handed its packets at its own end of the veth. Bridge, neighbour
 * table and queues, which cost more than the translation, are passed by.
 *
 * Only on the ingress of an interface: there alone the kernel redirects to a veth's peer. An
 * address whose veth is not known is reached by the bridge.
 */
#ifndef FAIRLEAD_VETH_H
#define FAIRLEAD_VETH_H

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "config.h"
#include "maps.h"
#include "net.h"

/*
 * At the edge a bridge is known by its interface; the agent writes such rows for bridges of
 * its own namespace alone. Ids of networks are below.
 */
#define VETH_SCOPE_BRIDGE 0x80000000U

/* veths_hold() - has the agent been heard of lately? */
static __always_inline bool veths_hold(void)
{
	const __u32 only = 0;
	const struct veth_lease *lease = bpf_map_lookup_elem(&veth_leases, &only);

	return lease && lease->until && (__s32)(lease->until - (__u32)bpf_jiffies64()) > 0;
}

union veth_key {
	struct veth4_key v4;
	struct veth6_key v6;
};

/* veth_of() - NULL: by the bridge. @key: of any content */
static __always_inline const struct veth *veth_of(union veth_key *key, __u32 scope,
						  const __be32 addr[4], const bool v6)
{
	if (!veths_hold())
		return NULL;
	if (v6) {
		key->v6.scope = scope;
		addr_copy(key->v6.addr, addr);
		return bpf_map_lookup_elem(&veths6, &key->v6);
	}
	key->v4.scope = scope;
	key->v4.addr = addr[3];
	return bpf_map_lookup_elem(&veths4, &key->v4);
}

/* veth_enter() - the verdict. @from: the MAC address of the bridge */
static __always_inline int veth_enter(struct __sk_buff *skb, const struct veth *veth,
				      const volatile __u8 from[ETH_ALEN])
{
	struct ethhdr *eth = (void *)(long)skb->data;
	int i;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	for (i = 0; i < ETH_ALEN; i++) {
		eth->h_dest[i] = veth->mac[i];
		eth->h_source[i] = from[i];
	}
	/* The container's stack takes the type for its own interface's word. */
	if (skb->pkt_type != PACKET_HOST && bpf_skb_change_type(skb, PACKET_HOST))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(veth->ifindex, 0);
}

#endif
