/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a packet goes after the decision: to its backend, back to its sender, or on
 * through the stack. Never builds or translates one.
 */
#ifndef FAIRLEAD_FORWARD_H
#define FAIRLEAD_FORWARD_H

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "config.h"
#include "veth.h"
#include "maps.h"
#include "parse.h"

/* Other programs on the hook run next; the default verdict of the chain is to pass. */
#define VERDICT_PASS TC_ACT_UNSPEC
#define VERDICT_DROP TC_ACT_SHOT

/*
 * Beyond the verdicts of tc: what the program has to call next. The steps are global
 * functions, so that the verifier takes each once and by itself; they return to the
 * program instead of calling each other, or their stacks would not fit in 512 bytes.
 */
#define VERDICT_ADMIT 0x100	  /* admit() decides */
#define VERDICT_ANSWER 0x101	  /* answer_vip() does */
#define VERDICT_NEIGHBOUR 0x102	  /* answer_nd() does */
#define VERDICT_ROUTE 0x103	  /* route() does: at the edge there is no bridge to go by */
#define VERDICT_HAIRPIN 0x104	  /* hairpin() carries it: to the container that sent it */
#define VERDICT_ERROR 0x105	  /* error_to_backend() or error_to_client() does */
#define VERDICT_FRAGMENT 0x106	  /* fragment_in() or fragment_back() does */
#define VERDICT_START 0x107	  /* start() decides: a flow is to begin */
#define VERDICT_SNAT 0x108	  /* snat_begin() does: the flow is begun for both ends */
#define VERDICT_TOO_BIG 0x109	  /* answer_too_big() does; the MTU is in chosen_get() */
#define VERDICT_NEXT 0x10a	  /* whoever is asked next */
#define VERDICT_UNKNOWN 0x10b	  /* sort_out() does: it is of no TCP or UDP flow, or not whole */
#define VERDICT_SUBSTITUTED 0x10c /* translate_reply() does: a reply to a substitute port */
#define VERDICT_RESET 0x10d	  /* reset_server() does: a reply of a flow that is over */
#define VERDICT_REFUSE 0x200	  /* and a reason: refuse() for that */

static __always_inline bool addressed_to_vip_mac(struct __sk_buff *skb)
{
	__u8 buffer[ETH_ALEN];
	const __u8 *to = slice(skb, 0, sizeof(buffer), buffer);
	int i;

	if (!to)
		return false;
	for (i = 0; i < ETH_ALEN; i++)
		if (to[i] != vip_mac[i])
			return false;
	return true;
}

/*
 * forward_stack() - let routing find the way.
 *
 * Nobody owns vip_mac: a frame to it has to be made the host's own first. A bridge
 * tells the host's frames by their address, an IP stack by the packet's type.
 */
static __always_inline int forward_stack(struct __sk_buff *skb)
{
	__u8 mac[ETH_ALEN];
	int i;

	if (!addressed_to_vip_mac(skb))
		return VERDICT_PASS;
	if (!bridge_ifindex)
		return bpf_skb_change_type(skb, PACKET_HOST) ? VERDICT_DROP : VERDICT_PASS;
	for (i = 0; i < ETH_ALEN; i++)
		mac[i] = bridge_mac[i];
	return bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0) ? VERDICT_DROP : VERDICT_PASS;
}

/*
 * forward_to() - send a translated packet to its backend.
 *
 * On the same link the kernel's neighbour table of the bridge resolves the MAC, and
 * queues the packet while it does; netfilter is not passed (and cannot object).
 */
static __always_inline int forward_to(struct __sk_buff *skb, const struct backend *backend,
				      const bool v6)
{
	union {
		union veth_key key;
		struct bpf_redir_neigh nexthop;
	} to; /* one after the other: there is little room on the stack */
	const struct veth *veth;

	if (!network_id)
		return VERDICT_ROUTE;
	if (!bridge_ifindex || !(backend->flags & BACKEND_ON_LINK))
		return forward_stack(skb);
	veth = veth_of(&to.key, network_id, backend->addr, v6);
	if (veth)
		return veth_enter(skb, veth, bridge_mac);
	__builtin_memset(&to.nexthop, 0, sizeof(to.nexthop));
	if (v6) {
		to.nexthop.nh_family = ADDRESS_FAMILY_6;
		addr_copy(to.nexthop.ipv6_nh, backend->addr);
	} else {
		to.nexthop.nh_family = ADDRESS_FAMILY_4;
		to.nexthop.ipv4_nh = backend->addr[3];
	}
	return bpf_redirect_neigh(bridge_ifindex, &to.nexthop, sizeof(to.nexthop), 0);
}

/* send_back() - out of the interface that the packet came in by. */
static __always_inline int send_back(struct __sk_buff *skb)
{
	return bpf_redirect(skb->ifindex, 0);
}

/* turn_ethernet() - swap the MAC addresses. Returns 0 or a negative errno. */
static __always_inline int turn_ethernet(struct __sk_buff *skb)
{
	__u8 macs[3 * ETH_ALEN];

	/* destination, source, destination again: the last two are the reply's first */
	if (bpf_skb_load_bytes(skb, 0, macs, 2 * ETH_ALEN))
		return -1;
	__builtin_memcpy(macs + 2 * ETH_ALEN, macs, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, macs + ETH_ALEN, 2 * ETH_ALEN, 0);
}

#endif
