/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an address and a port mean in a network. Reads the agent's maps only.
 */
#ifndef FAIRLEAD_VIP_H
#define FAIRLEAD_VIP_H

#include "maps.h"
#include "net.h"

static __always_inline struct vip *vip_lookup(__u32 network, const struct addr *addr, const bool v6)
{
	if (v6) {
		struct vip6_key key = {.network = network};

		addr_copy(key.addr, addr->words);
		return bpf_map_lookup_elem(&vips6, &key);
	}
	struct vip4_key key = {.network = network, .addr = addr->words[3]};

	return bpf_map_lookup_elem(&vips4, &key);
}

static __always_inline struct port *port_lookup(__u32 network, const struct addr *addr,
						__be16 number, __u8 protocol, const bool v6)
{
	if (v6) {
		struct port6_key key = {.network = network, .port = number, .protocol = protocol};

		addr_copy(key.addr, addr->words);
		return bpf_map_lookup_elem(&ports6, &key);
	}
	struct port4_key key = {
		.network = network, .addr = addr->words[3], .port = number, .protocol = protocol};

	return bpf_map_lookup_elem(&ports4, &key);
}

/*
 * vip_service() - the service behind a VIP's port.
 * @vip:         the VIP's row
 * @target_port: where the backend listens; usable only when the result is not 0
 *
 * Returns the service's id, or 0: the VIP has no such port.
 */
static __always_inline __u32 vip_service(const struct vip *vip, __u32 network,
					 const struct addr *addr, __be16 number, __u8 protocol,
					 __be16 *target_port, const bool v6)
{
	struct port *port;

	*target_port = number;
	if (!(vip->flags & (VIP_BALANCED | VIP_NODE)))
		return 0;
	port = port_lookup(network, addr, number, protocol, v6);
	if (port) {
		if (port->target_port)
			*target_port = port->target_port;
		return port->service;
	}
	return vip->flags & VIP_ANY_PORT ? vip->service : 0;
}

#endif
