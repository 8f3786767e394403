/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How packets from outside get to a backend that is not on this node. Reads the agent's
 * maps only.
 */
#ifndef FAIRLEAD_VIA_H
#define FAIRLEAD_VIA_H

#include "config.h"
#include "maps.h"
#include "net.h"

#define CHOSEN_OFFSET __builtin_offsetof(struct __sk_buff, cb)

/*
 * chosen_set() - leave a word for a later step: which backend took the packet.
 *
 * In assembly, because clang adds the offset to the pointer first, and the verifier wants
 * the context as it was given.
 */
static __always_inline void chosen_set(struct __sk_buff *skb, __u32 word)
{
	asm volatile("*(u32 *)(%0 + %1) = %2"
		     :
		     : "r"(skb), "i"(CHOSEN_OFFSET), "r"(word)
		     : "memory");
}

static __always_inline __u32 chosen_get(struct __sk_buff *skb)
{
	__u32 word;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(skb), "i"(CHOSEN_OFFSET));
	return word;
}

/* via_of() - NULL for a backend that is simply routed to. Outside alone there are detours. */
static __always_inline struct via *via_of(__u32 backend_id)
{
	struct via *via;

	if (network_id)
		return NULL;
	via = bpf_map_lookup_elem(&vias, &backend_id);
	return via && via->kind != VIA_HERE ? via : NULL;
}

/* as_dialled() - does the backend get the packet with the VIP in it? */
static __always_inline bool as_dialled(__u32 backend_id)
{
	struct via *via = via_of(backend_id);

	return via && (via->kind == VIA_DSR_MAC || via->kind == VIA_DSR_TUNNEL);
}

/* is_snat() - does the backend get the packet from this node's own address? */
static __always_inline bool is_snat(__u32 backend_id)
{
	struct via *via = via_of(backend_id);

	return via && via->kind == VIA_SNAT;
}

static __always_inline __u32 via_overhead(const struct via *via, const bool v6)
{
	if (via->kind == VIA_DSR_MAC)
		return 0;
	return v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES;
}

/* own_address() - where this node's tunnels begin; false: it has none of the family. */
static __always_inline bool own_address(struct addr *own, const bool v6)
{
	int i;

	if (!v6) {
		addr_set4(own, edge_addr4);
		return edge_addr4;
	}
	for (i = 0; i < 4; i++)
		own->words[i] = edge_addr6[i];
	return own->words[0] | own->words[1] | own->words[2] | own->words[3];
}

static __always_inline bool is_peer(const struct addr *addr)
{
	struct peer_key key;

	addr_copy(key.addr, addr->words);
	return bpf_map_lookup_elem(&peers, &key);
}

/* alias_of() - the address here of a container that another node calls so; NULL: none. */
static __always_inline const struct addr *alias_of(const struct addr *addr)
{
	struct alias_key key;
	struct alias *alias;

	addr_copy(key.addr, addr->words);
	alias = bpf_map_lookup_elem(&aliases, &key);
	return alias ? (const struct addr *)alias->addr : NULL;
}

/* has_alias() - does the node that a flow came in by know its backend by another address? */
static __always_inline bool has_alias(const struct entry *entry)
{
	return entry->alias[0] | entry->alias[1] | entry->alias[2] | entry->alias[3];
}

static __always_inline void entry_key_set(struct entry_key *key, const struct addr *client,
					  __be16 client_port, const struct addr *backend,
					  __be16 backend_port, __u8 protocol)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(key->client, client->words);
	addr_copy(key->backend, backend->words);
	key->client_port = client_port;
	key->backend_port = backend_port;
	key->protocol = protocol;
}

#endif
