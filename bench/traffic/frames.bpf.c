// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A generator of UDP frames inside the kernel, as BPF_PROG_TEST_RUN drives it, and what takes
 * them at the far end. Frames come back to the generator as whoever had them left them, so each
 * is written whole.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frames.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define FIRST_PORT 1024
#define PORTS (65536 - FIRST_PORT)
#define UDP_LENGTH (sizeof(struct udphdr) + PAYLOAD_BYTES)

const volatile struct frame_settings settings = {};
struct frame_tally tally = {};

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void write_ethernet(struct ethhdr *eth)
{
	int i;

	/* A plain copy from constant memory clang takes for one of zeros. */
	for (i = 0; i < ETH_ALEN; i++) {
		eth->h_dest[i] = settings.to_mac[i];
		eth->h_source[i] = settings.from_mac[i];
	}
	eth->h_proto = bpf_htons(ETH_P_IP);
}

/* write_ip() - returns the sum of the addresses. */
static __always_inline __u32 write_ip(struct iphdr *ip, __u32 flow)
{
	__be32 from = bpf_htonl(bpf_ntohl(settings.from) + flow / PORTS);
	__be32 to = settings.to;
	__u32 pair = (from & 0xffff) + (from >> 16) + (to & 0xffff) + (to >> 16);
	__u16 *words = (__u16 *)ip;
	__u32 sum = pair;
	int i;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(sizeof(*ip) + UDP_LENGTH);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = from;
	ip->daddr = to;
	for (i = 0; i < 5; i++)
		sum += words[i];
	ip->check = ~fold(sum);
	return pair;
}

static __always_inline void write_udp(struct udphdr *udp, __u32 flow, __u32 pair)
{
	__be16 from = bpf_htons(FIRST_PORT + flow % PORTS);
	__u32 sum = pair;

	udp->source = from;
	udp->dest = settings.port;
	udp->len = bpf_htons(UDP_LENGTH);
	/* The payload is zeros. */
	sum += bpf_htons(IPPROTO_UDP) + 2 * bpf_htons(UDP_LENGTH) + from + settings.port;
	udp->check = ~fold(sum);
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 index = tally.sent++;
	__u32 flow = settings.first_flow + (index & settings.flow_mask);

	if (index == settings.warm)
		tally.begun_ns = bpf_ktime_get_ns();
	if (index == settings.warm + settings.count)
		tally.ended_ns = bpf_ktime_get_ns();
	if ((void *)(udp + 1) + PAYLOAD_BYTES > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	write_ethernet(eth);
	write_udp(udp, flow, write_ip(ip, flow));
	__builtin_memset(udp + 1, 0, PAYLOAD_BYTES);
	return bpf_redirect(settings.ifindex, 0);
}

/* take_datagram() - at a socket: the stack's work is done, and there is no queue to drain. */
SEC("socket")
int take_datagram(struct __sk_buff *skb __attribute__((unused)))
{
	tally.taken++;
	return 0;
}

static __always_inline bool is_udp(const struct ethhdr *eth, const void *end)
{
	const struct iphdr *ip = (const void *)(eth + 1);

	return (const void *)(ip + 1) <= end && eth->h_proto == bpf_htons(ETH_P_IP) &&
	       (ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_IPIP);
}

/* take_frame() - at a NIC. What is no datagram goes on: neighbours are to be resolved. */
SEC("xdp")
int take_frame(struct xdp_md *ctx)
{
	if (!is_udp((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	tally.taken++;
	return XDP_DROP;
}

/* take_buffer() - at a NIC that gets socket buffers. */
SEC("tc")
int take_buffer(struct __sk_buff *skb)
{
	if (!is_udp((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_UNSPEC;
	tally.taken++;
	return TC_ACT_SHOT;
}
