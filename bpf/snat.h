/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows of `return: snat`: keys, life and storing of their rows. The only writer, beside
 * the sweep, of snats, embryonic_snats and snat_clients. Changes no packet.
 *
 * Any of the two rows of a flow may be evicted. Without that of `snat_clients` the next
 * reply puts it back; without the other the flow is lost, and its port another's: so a row
 * is a client's only if it says so itself.
 */
#ifndef FAIRLEAD_SNAT_H
#define FAIRLEAD_SNAT_H

#include "flow.h"

static __always_inline bool is_snat_port(__be16 port)
{
	return (__u32)bpf_ntohs(port) - snat_first_port <= snat_last_port - snat_first_port;
}

static __always_inline void snat_key_set(struct snat_key *key, const __be32 backend[4],
					 __be16 backend_port, const __be32 source[4],
					 __be16 source_port, __u8 protocol, const bool v6)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(key->backend, backend);
	addr_copy(key->source, source);
	key->backend_port = backend_port;
	key->source_port = source_port;
	key->protocol = protocol;
	key->family = v6 ? 6 : 4;
}

/* snat_key_of_reply() - of a packet that a backend sent. */
static __always_inline void snat_key_of_reply(struct snat_key *key, const struct packet *pkt,
					      const bool v6)
{
	snat_key_set(key, pkt->src.words, pkt->sport, pkt->dst.words, pkt->dport, pkt->protocol,
		     v6);
}

/* snat_find() - the row of a key in either table, as flow_find(). */
static __always_inline struct snat_flow *snat_find(const struct snat_key *key, bool *embryonic)
{
	struct snat_flow *row = bpf_map_lookup_elem(&snats, key);
	bool begins = !row;

	if (!row)
		row = bpf_map_lookup_elem(&embryonic_snats, key);
	if (!row) {
		row = bpf_map_lookup_elem(&snats, key);
		begins = !row;
	}
	*embryonic = begins;
	return row;
}

/* snat_of() - is this the row of a packet that a client sent? */
static __always_inline bool snat_of(const struct snat_flow *row, const struct packet *pkt,
				    const bool v6)
{
	return row->flow.client_port == pkt->sport && row->flow.vip_port == pkt->dport &&
	       addr_equal(row->vip, pkt->dst.words, v6) &&
	       addr_equal(row->client, pkt->src.words, v6);
}

/* snat_alive() - the row's backend; NULL when it is gone. */
static __always_inline struct backend *snat_alive(const struct snat_flow *row)
{
	return backend_alive(row->flow.backend, row->flow.service, row->flow.incarnation);
}

static __always_inline void snat_delete(const struct snat_key *key, bool embryonic)
{
	if (embryonic)
		bpf_map_delete_elem(&embryonic_snats, key);
	else
		bpf_map_delete_elem(&snats, key);
}

/* snat_promote() - as flow_promote(). */
static __always_inline struct snat_flow *snat_promote(const struct snat_key *key,
						      struct snat_flow *row)
{
	const long error = bpf_map_update_elem(&snats, key, row, BPF_NOEXIST);
	struct snat_flow *moved;

	if (error && error != -ERRNO_EXIST)
		return row;
	moved = bpf_map_lookup_elem(&snats, key);
	if (!moved)
		return row;
	if (!error)
		bpf_map_delete_elem(&embryonic_snats, key);
	return moved;
}

static __always_inline void snat_client_key(struct overflow_key *from, const struct snat_flow *row,
					    __u8 protocol)
{
	overflow_key_set(from, (const struct addr *)row->client, row->flow.client_port,
			 (const struct addr *)row->vip, row->flow.vip_port, protocol);
}

static __always_inline bool snat_key_equal(const struct snat_key *a, const struct snat_key *b)
{
	return a->source_port == b->source_port && a->backend_port == b->backend_port &&
	       addr_equal(a->backend, b->backend, true) && addr_equal(a->source, b->source, true);
}

/* snat_forget() - drop the way to a row that is about to go, unless it leads elsewhere. */
static __always_inline void snat_forget(const struct snat_key *key, const struct snat_flow *row)
{
	struct overflow_key from;
	struct snat_key *to;

	snat_client_key(&from, row, key->protocol);
	to = bpf_map_lookup_elem(&snat_clients, &from);
	if (to && snat_key_equal(to, key))
		bpf_map_delete_elem(&snat_clients, &from);
}

/*
 * snat_reply() - account for a backend's packet.
 *
 * Looks once in a while whether its client's packets still find the row.
 */
static __always_inline void snat_reply(const struct snat_key *key, struct snat_flow *row,
				       const struct packet *pkt)
{
	__u32 now = now_jiffies();
	struct detour *way;

	way = flow_is_behind(&row->flow, now) ? detour_of() : NULL;
	if (way) {
		snat_client_key(&way->from, row, key->protocol);
		if (!bpf_map_lookup_elem(&snat_clients, &way->from) &&
		    !bpf_map_update_elem(&snat_clients, &way->from, key, BPF_NOEXIST))
			count_event(EVENT_FLOW_REPAIRED, packet_path);
	}
	flow_touch(&row->flow, pkt, DIR_OUT, now, true);
}

#endif
