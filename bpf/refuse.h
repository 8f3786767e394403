/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Refusals: a TCP reset (RFC 9293, 3.5.2) or an ICMP port unreachable (RFC 792,
 * RFC 1812 4.3.2.3, RFC 4443 3.1), made of the offending packet and sent back.
 *
 * The offending packet may have left its checksum to a device. That mark outlives
 * every change, and the device will still write where it says: a reset's checksum
 * then has to be the pseudo-header's sum alone, and an unreachable's has to allow for
 * what will be written into the packet that it quotes.
 */
#ifndef FAIRLEAD_REFUSE_H
#define FAIRLEAD_REFUSE_H

#include "count.h"
#include "csum.h"
#include "forward.h"
#include "parse.h"

/* What keeps the whole within 576 octets (RFC 1812), or the least IPv6 MTU. */
#define QUOTE4_BYTES (576 - IP4_BASE_BYTES - ICMP_BYTES)
#define QUOTE6_BYTES (1280 - IP6_BASE_BYTES - ICMP_BYTES)
#define SUM_CHUNK_BYTES 64

struct icmp_head {
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 rest; /* the MTU where that is the error's point, else 0 */
};

/*
 * What a refusal needs of the offending packet. Not struct packet: parsing again would
 * take a third of the stack that is left this deep.
 */
struct offender {
	struct addr src;
	struct addr dst;
	__u32 l4_offset;
	__u32 check_offset; /* of the TCP or UDP checksum */
};

static __always_inline int offender_read(struct __sk_buff *skb, struct offender *of,
					 __u32 l4_offset, const bool v6)
{
	__be32 pair[2];

	of->l4_offset = l4_offset;
	of->check_offset = l4_offset + UDP_CHECK_OFFSET;
	if (v6)
		return bpf_skb_load_bytes(skb, ETH_HLEN + 8, &of->src, 2 * sizeof(of->src));
	if (bpf_skb_load_bytes(skb, ETH_HLEN + 12, pair, sizeof(pair)))
		return -1;
	addr_set4(&of->src, pair[0]);
	addr_set4(&of->dst, pair[1]);
	return 0;
}

/* store_ip() - a fresh IP header of a packet from the VIP to the client. */
static __always_inline int store_ip(struct __sk_buff *skb, const struct offender *of, __u8 protocol,
				    __u32 payload_bytes, const bool v6)
{
	if (v6) {
		struct ipv6hdr ip = {
			.version = 6,
			.payload_len = bpf_htons(payload_bytes),
			.nexthdr = protocol,
			.hop_limit = REPLY_TTL,
		};

		addr_copy(ip.saddr.in6_u.u6_addr32, of->dst.words);
		addr_copy(ip.daddr.in6_u.u6_addr32, of->src.words);
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
	}
	struct iphdr ip = {
		.version = 4,
		.ihl = IP4_BASE_BYTES / 4,
		.tot_len = bpf_htons(IP4_BASE_BYTES + payload_bytes),
		.frag_off = bpf_htons(IP4_DONT_FRAGMENT),
		.ttl = REPLY_TTL,
		.protocol = protocol,
		.saddr = of->dst.words[3],
		.daddr = of->src.words[3],
	};

	ip.check = ~csum_fold16(csum_words(&ip, sizeof(ip)));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

static __always_inline int reset_segment(struct __sk_buff *skb, const struct offender *of,
					 struct tcphdr *reset, const bool v6)
{
	__u32 sequence_bytes;
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(skb, of->l4_offset, &tcp, sizeof(tcp)))
		return -1;
	reset->source = tcp.dest;
	reset->dest = tcp.source;
	reset->doff = TCP_BASE_BYTES / 4;
	reset->rst = 1;
	if (tcp.ack) {
		reset->seq = tcp.ack_seq;
		return 0;
	}
	sequence_bytes = ETH_HLEN + ip_bytes(skb, v6) - of->l4_offset - tcp.doff * 4;
	reset->ack = 1;
	reset->ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + sequence_bytes + tcp.syn + tcp.fin);
	return 0;
}

/*
 * make_reset() - turn a segment into the reset that answers it.
 *
 * The TCP header has to stay where it is, or a checksum left to the device would be
 * written elsewhere; so a packet with options or extension headers is not answered. What
 * the kernel does not cut off (6.18, of a packet that XDP took out of a tunnel) is padding
 * behind the reset, unless somebody is yet to sum it up.
 * Returns 0 or a negative errno; then drop the packet.
 */
static __always_inline int make_reset(struct __sk_buff *skb, const struct offender *of,
				      const bool v6)
{
	const __u32 tcp_offset = ETH_HLEN + (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES);
	struct tcphdr reset = {};
	__u64 sum;
	int partial;

	if (of->l4_offset != tcp_offset || reset_segment(skb, of, &reset, v6))
		return -1;
	partial = csum_left_to_device(skb, tcp_offset + TCP_CHECK_OFFSET);
	if (partial < 0 ||
	    (bpf_skb_change_tail(skb, tcp_offset + sizeof(reset), 0) && (partial || skb->gso_size)))
		return -1;
	sum = csum_pseudo(&of->src, &of->dst, IPPROTO_TCP, sizeof(reset), v6);
	if (partial)
		reset.check = csum_fold16(sum);
	else
		reset.check = ~csum_fold16(sum + csum_words(&reset, sizeof(reset)));
	if (turn_ethernet(skb) || store_ip(skb, of, IPPROTO_TCP, sizeof(reset), v6))
		return -1;
	return bpf_skb_store_bytes(skb, tcp_offset, &reset, sizeof(reset), 0);
}

/*
 * sum_bytes() - of the first @bytes from the IP header on; at least 1.
 *
 * The last chunk is 1 to 64 bytes by its form, so the verifier need not be told.
 */
static __always_inline int sum_bytes(struct __sk_buff *skb, __u32 bytes, __u64 *sum)
{
	__u32 whole = (bytes - 1) / SUM_CHUNK_BYTES;
	__u32 last = (bytes - 1) % SUM_CHUNK_BYTES + 1;
	__u8 chunk[SUM_CHUNK_BYTES];
	__u32 i;

	for (i = 0; i < QUOTE6_BYTES / SUM_CHUNK_BYTES && i < whole; i++) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + i * SUM_CHUNK_BYTES, chunk, sizeof(chunk)))
			return -1;
		*sum += csum_words(chunk, sizeof(chunk));
	}
	__builtin_memset(chunk, 0, sizeof(chunk));
	if (bpf_skb_load_bytes(skb, ETH_HLEN + whole * SUM_CHUNK_BYTES, chunk, last))
		return -1;
	*sum += csum_words(chunk, sizeof(chunk));
	return 0;
}

/*
 * sum_quote() - the sum of the quoted packet as its reader will find it.
 *
 * What a device completes makes the UDP part sum to the complement of the sum that is
 * now in the checksum field, however much of the packet is quoted.
 */
static __always_inline int sum_quote(struct __sk_buff *skb, const struct offender *of,
				     __u32 quote_bytes, __u64 *sum)
{
	int partial = csum_left_to_device(skb, of->check_offset);
	__u16 check;

	if (partial < 0)
		return -1;
	if (!partial)
		return sum_bytes(skb, quote_bytes, sum);
	if (bpf_skb_load_bytes(skb, of->check_offset, &check, sizeof(check)))
		return -1;
	*sum += (__u16)~check;
	return sum_bytes(skb, of->l4_offset - ETH_HLEN, sum);
}

/*
 * make_unreachable() - wrap a packet into the error that answers it.
 * @mtu: what would have fitted, or 0: nobody listens on the port
 *
 * Room is made before the Ethernet header, whose old place becomes part of the new
 * headers: the quoted packet is not moved.
 */
static __always_inline int make_unreachable(struct __sk_buff *skb, const struct offender *of,
					    const __u32 mtu, const bool v6)
{
	const __u32 added = (v6 ? IP6_BASE_BYTES : IP4_BASE_BYTES) + ICMP_BYTES;
	__u32 quote = skb->len - ETH_HLEN;
	struct icmp_head icmp = {
		.type = v6 ? ICMP6_UNREACHABLE : ICMP4_UNREACHABLE,
		.code = v6 ? ICMP6_PORT_UNREACHABLE : ICMP4_PORT_UNREACHABLE,
	};
	__u64 sum = 0;
	struct ethhdr eth;

	if (mtu) {
		icmp.type = v6 ? ICMP6_TOO_BIG : ICMP4_UNREACHABLE;
		icmp.code = v6 ? 0 : ICMP4_FRAGMENTATION_NEEDED;
		icmp.rest = bpf_htonl(mtu);
	}
	if (quote > (v6 ? QUOTE6_BYTES : QUOTE4_BYTES))
		quote = v6 ? QUOTE6_BYTES : QUOTE4_BYTES;
	if (turn_ethernet(skb) || bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) ||
	    sum_quote(skb, of, quote, &sum))
		return -1;
	if (v6)
		sum += csum_pseudo(&of->src, &of->dst, IPPROTO_ICMPV6, ICMP_BYTES + quote, v6);
	icmp.check = ~csum_fold16(sum + csum_words(&icmp, sizeof(icmp)));
	/* Also when nothing is cut: it undoes segmentation offload. */
	if (bpf_skb_change_tail(skb, ETH_HLEN + quote, 0) || bpf_skb_change_head(skb, added, 0) ||
	    bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) ||
	    store_ip(skb, of, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, ICMP_BYTES + quote, v6))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + added - ICMP_BYTES, &icmp, sizeof(icmp), 0);
}

/* The verifier takes a global function by itself, and its stack only when called. */
__noinline int make_reset4(struct __sk_buff *skb, __u32 l4_offset)
{
	struct offender of;

	return offender_read(skb, &of, l4_offset, false) ? -1 : make_reset(skb, &of, false);
}

__noinline int make_reset6(struct __sk_buff *skb, __u32 l4_offset)
{
	struct offender of;

	return offender_read(skb, &of, l4_offset, true) ? -1 : make_reset(skb, &of, true);
}

__noinline int make_unreachable4(struct __sk_buff *skb, __u32 l4_offset)
{
	struct offender of;

	return offender_read(skb, &of, l4_offset, false) ? -1
							 : make_unreachable(skb, &of, 0, false);
}

__noinline int make_unreachable6(struct __sk_buff *skb, __u32 l4_offset)
{
	struct offender of;

	return offender_read(skb, &of, l4_offset, true) ? -1 : make_unreachable(skb, &of, 0, true);
}

/*
 * tell_too_big() - wrap a packet, or a first fragment, into the error that says what would
 * have fitted.
 *
 * Returns 0 or a negative errno; then drop the packet.
 */
static __always_inline int tell_too_big(struct __sk_buff *skb, __u32 mtu, const bool v6)
{
	struct offender of;
	struct packet pkt;
	__be32 id;

	parse_first(skb, &pkt, &id, v6);
	if (pkt.kind != PACKET_FLOW || offender_read(skb, &of, pkt.l4_offset, v6))
		return -1;
	if (pkt.protocol == IPPROTO_TCP)
		of.check_offset = pkt.l4_offset + TCP_CHECK_OFFSET;
	return make_unreachable(skb, &of, mtu, v6);
}

__noinline int tell_too_big4(struct __sk_buff *skb, __u32 mtu)
{
	return tell_too_big(skb, mtu, false);
}

__noinline int tell_too_big6(struct __sk_buff *skb, __u32 mtu)
{
	return tell_too_big(skb, mtu, true);
}

/*
 * turn_down() - count why, and turn the packet into what tells its sender.
 *
 * A reset is never answered: two ends without a flow would reset each other for ever.
 * Returns 0 or a negative number; then drop the packet.
 */
static __always_inline int turn_down(struct __sk_buff *skb, enum drop_reason reason, const bool v6)
{
	struct packet pkt;
	int error;

	count_drop(reason, packet_path);
	parse(skb, &pkt, v6);
	if (pkt.kind != PACKET_FLOW || (pkt.tcp_flags & TCP_RST))
		return -1;
	if (pkt.protocol == IPPROTO_TCP)
		error = v6 ? make_reset6(skb, pkt.l4_offset) : make_reset4(skb, pkt.l4_offset);
	else
		error = v6 ? make_unreachable6(skb, pkt.l4_offset)
			   : make_unreachable4(skb, pkt.l4_offset);
	if (!error)
		count_event(EVENT_REFUSED, packet_path);
	return error;
}

__noinline int refuse4(struct __sk_buff *skb, __u32 reason)
{
	return turn_down(skb, reason, false) ? VERDICT_DROP : send_back(skb);
}

__noinline int refuse6(struct __sk_buff *skb, __u32 reason)
{
	return turn_down(skb, reason, true) ? VERDICT_DROP : send_back(skb);
}

/*
 * reset_server() - turn a backend's packet into the reset that answers it: VERDICT_ROUTE, as
 * how it gets back depends on where the packet was met, or VERDICT_DROP.
 */
__noinline int reset_server4(struct __sk_buff *skb)
{
	return turn_down(skb, DROP_NO_FLOW, false) ? VERDICT_DROP : VERDICT_ROUTE;
}

__noinline int reset_server6(struct __sk_buff *skb)
{
	return turn_down(skb, DROP_NO_FLOW, true) ? VERDICT_DROP : VERDICT_ROUTE;
}

#endif
