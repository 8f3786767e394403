/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about packets of flows: without them path-MTU discovery fails, ports that
 * are closed seem to swallow, and traceroute shows nothing. As RFC 5508 asks of a NAT,
 * the quoted packet becomes the one that the receiver had sent; of the outer addresses
 * only that of an end of the flow changes, so routers keep theirs.
 */
#ifndef FAIRLEAD_ICMPERROR_H
#define FAIRLEAD_ICMPERROR_H

#include "hairpin.h"
#include "quote.h"

/* What is kept of an error; not on the stack, as struct admission. */
struct error {
	struct quote quote;
	struct packet asked; /* the quoted packet with its ends exchanged */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct error);
} errors SEC(".maps");

/*
 * error_to_client() - an error about a packet that a client's had become, to the client.
 *
 * The quoted packet is from the client's address and the flow's port to the backend.
 * What is about no flow passes as it came: it may be about traffic that is none of ours.
 */
static __always_inline int error_to_client(struct __sk_buff *skb, const bool v6)
{
	const struct addr *vip;
	struct quote quote;
	union flow_key key;
	struct packet pkt;
	struct flow *row;
	bool embryonic;
	struct addr buffer;

	parse(skb, &pkt, v6);
	if (!is_icmp(&pkt, v6) || !quote_read(skb, &pkt, &quote, v6))
		return VERDICT_PASS;
	flow_key_set(&key, &quote.of.src, quote.of.sport, quote.of.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || (row->flags & FLOW_HAIRPIN) || !to_server(row, &quote.of, v6))
		return VERDICT_PASS;
	vip = flow_vip(row, &buffer, v6);
	if (addr_equal(pkt.src.words, quote.of.dst.words, v6) &&
	    quote_set_outer(skb, &pkt, &quote, SIDE_SOURCE, vip, v6))
		return drop(DROP_REWRITE);
	if (quote_set_addr(skb, &quote, SIDE_DESTINATION, vip, v6) ||
	    quote_set_ports(skb, &quote, row->client_port, row->vip_port) ||
	    quote_finish(skb, &pkt, &quote, v6))
		return drop(DROP_REWRITE);
	count_event(EVENT_ICMP_ERROR, packet_path);
	return VERDICT_PASS;
}

/*
 * error_hairpin() - an error of a backend about what it sent itself, back to it.
 * @sport, @dport: of the packet to quote; its addresses are those of the other, swapped
 */
static __always_inline int error_hairpin(struct __sk_buff *skb, const struct packet *pkt,
					 struct quote *quote, __be16 sport, __be16 dport,
					 const bool v6)
{
	struct packet inner = quote->of;

	if (quote_set_addr(skb, quote, SIDE_SOURCE, &inner.dst, v6) ||
	    quote_set_addr(skb, quote, SIDE_DESTINATION, &inner.src, v6) ||
	    quote_set_ports(skb, quote, sport, dport) || quote_finish(skb, pkt, quote, v6) ||
	    swap_addresses(skb, pkt, v6) || turn_ethernet(skb))
		return drop(DROP_REWRITE);
	count_event(EVENT_ICMP_ERROR, packet_path);
	return send_back(skb);
}

/* error_unknown() - about no flow: to a VIP nobody could take it, else it is not ours. */
static __always_inline int error_unknown(const struct packet *pkt, const bool v6)
{
	struct vip *vip = vip_lookup(network_id, &pkt->dst, v6);

	return vip && (vip->flags & VIP_BALANCED) ? drop(DROP_ICMP_ERROR) : VERDICT_PASS;
}

/* error_carry() - to the backend of the flow, about the packet that it had sent. */
static __always_inline int error_carry(struct __sk_buff *skb, const struct packet *pkt,
				       struct quote *quote, const struct flow *row, __be16 port,
				       const bool v6)
{
	const struct backend *backend = NULL;
	const struct addr *to;

	if (!(row->flags & FLOW_DIRECT)) {
		backend = backend_alive(row->backend, row->service, row->incarnation);
		if (!backend)
			return drop(DROP_ICMP_ERROR);
		chosen_set(skb, row->backend);
		/* It had sent the packet as it is quoted. */
		if (as_dialled(row->backend)) {
			count_event(EVENT_ICMP_ERROR, packet_path);
			return forward_to(skb, backend, v6);
		}
		to = (const struct addr *)backend->addr;
		if (quote_set_outer(skb, pkt, quote, SIDE_DESTINATION, to, v6) ||
		    quote_set_addr(skb, quote, SIDE_SOURCE, to, v6))
			return drop(DROP_REWRITE);
	}
	if (quote_set_ports(skb, quote, backend ? row->backend_port : row->vip_port, port) ||
	    quote_finish(skb, pkt, quote, v6))
		return drop(DROP_REWRITE);
	count_event(EVENT_ICMP_ERROR, packet_path);
	return backend ? forward_to(skb, backend, v6) : VERDICT_PASS;
}

/*
 * error_to_backend() - an error from a container about a packet that a VIP had sent it,
 * or of a backend about a packet of its own.
 */
static __always_inline int error_to_backend(struct __sk_buff *skb, const bool v6)
{
	struct overflow_key from;
	const __u32 only = 0;
	struct packet *asked;
	union flow_key key;
	struct quote *quote;
	struct error *error;
	struct packet pkt;
	struct flow *row;
	bool embryonic;

	parse(skb, &pkt, v6);
	if (!is_icmp(&pkt, v6))
		return VERDICT_PASS;
	error = bpf_map_lookup_elem(&errors, &only);
	if (!error)
		return VERDICT_DROP;
	quote = &error->quote;
	asked = &error->asked;
	if (!quote_read(skb, &pkt, quote, v6))
		return error_unknown(&pkt, v6);
	*asked = quote->of;
	asked->src = quote->of.dst;
	asked->dst = quote->of.src;
	asked->sport = quote->of.dport;
	asked->dport = quote->of.sport;
	flow_key_set(&key, &asked->src, asked->sport, asked->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || !flow_of(row, asked, v6)) {
		overflow_key_of(&from, asked);
		row = flow_via_overflow(asked, &from, &key, &embryonic, v6);
	}
	if (row && (row->flags & FLOW_HAIRPIN))
		return error_hairpin(skb, &pkt, quote, row->backend_port, flow_key_port(&key, v6),
				     v6);
	if (row)
		return error_carry(skb, &pkt, quote, row, flow_key_port(&key, v6), v6);
	flow_key_set(&key, &quote->of.src, quote->of.sport, quote->of.protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (row && row->backend_port == quote->of.dport && hairpin_by(row, &quote->of.dst, v6))
		return error_hairpin(skb, &pkt, quote, row->client_port, row->vip_port, v6);
	return error_unknown(&pkt, v6);
}

__noinline int error_to_client4(struct __sk_buff *skb)
{
	return error_to_client(skb, false);
}

__noinline int error_to_client6(struct __sk_buff *skb)
{
	return error_to_client(skb, true);
}

__noinline int error_to_backend4(struct __sk_buff *skb)
{
	return error_to_backend(skb, false);
}

__noinline int error_to_backend6(struct __sk_buff *skb)
{
	return error_to_backend(skb, true);
}

#endif
