// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Packets of one service, for those who look at them: put by the agent before our programs
 * where packets come in, and behind them where they go out, only while it captures. Changes
 * no packet, writes to no shared map, and decides nothing.
 *
 * At a container both ends of a translation are seen: on the interface of the one the packet
 * as it was sent, on that of the other as it arrives.
 */
#include "flow.h"
#include "forward.h"
#include "vip.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define CAPTURE_BYTES 2048
#define RING_BYTES (1 << 22)

/* What is wanted; 0: any. A client is wanted if it equals `client` where `client_mask` is set. */
const volatile __u32 wanted_service = 0;
const volatile __u32 wanted_backend = 0;
const volatile __be32 client[4] = {0};
const volatile __be32 client_mask[4] = {0};
const volatile __u32 snap_bytes = 0;	  /* 0: the headers, and nothing of what they carry */
const volatile __u32 rate_packets = 1000; /* in a window of rate_window_jiffies */

enum sender {
	SENT_BY_CLIENT = 1,  /* sent by a client */
	SENT_BY_SERVICE = 2, /* sent to one */
};

struct capture {
	__u64 at_ns; /* CLOCK_MONOTONIC */
	__u32 ifindex;
	__u32 bytes;	  /* of the frame */
	__u32 kept;	  /* of `data` */
	__u32 leaves;	  /* 1: it goes out, behind our program; else it came in, before it */
	__u32 sender;	  /* enum sender */
	__u32 translated; /* 1: its other end is the backend, not the VIP */
	__u32 service;
	__u32 backend; /* 0: of no flow that is known */
	__u32 flags;   /* enum flow_flag */
	__u8 protocol;
	__u8 starts; /* 1: it may make a flow */
	__be16 backend_port;
	__u8 data[CAPTURE_BYTES];
};

#define CAPTURE_HEAD __builtin_offsetof(struct capture, data)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} captures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture);
} capture_scratch SEC(".maps");

/* For the agent: types of records have to be somebody's. */
const struct capture *unused_capture __attribute__((unused));

__u64 window_since = 0;
__u64 window_packets = 0;
__u64 left_out = 0; /* beyond the rate, or the ring was full */

static __always_inline bool at_backend(const struct flow *row, const struct addr *addr, __be16 port,
				       const bool v6)
{
	struct backend *backend = backend_alive(row->backend, row->service, row->incarnation);

	return backend && row->backend_port == port && addr_equal(backend->addr, addr->words, v6);
}

static __always_inline void take_row(struct capture *found, const struct flow *row,
				     enum sender sender, bool translated)
{
	found->sender = sender;
	found->translated = translated;
	found->service = row->service;
	found->backend = row->backend;
	found->backend_port = row->backend_port;
	found->flags = row->flags;
}

/* of_client() - is it sent by a flow's client? */
static __always_inline bool of_client(const struct packet *pkt, struct capture *found,
				      const bool v6)
{
	struct overflow_key from;
	union flow_key key;
	struct flow *row;
	bool embryonic;

	flow_key_set(&key, &pkt->src, pkt->sport, pkt->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (row && !(row->flags & FLOW_DIRECT)) {
		bool translated = at_backend(row, &pkt->dst, pkt->dport, v6);

		if (translated || flow_of(row, pkt, v6)) {
			take_row(found, row, SENT_BY_CLIENT, translated);
			return true;
		}
	}
	overflow_key_of(&from, pkt);
	row = flow_via_overflow(pkt, &from, &key, &embryonic, v6);
	if (!row || (row->flags & FLOW_DIRECT))
		return false;
	take_row(found, row, SENT_BY_CLIENT, false);
	return true;
}

/* of_backend() - is it the answer of a flow's backend, translated back or not yet? */
static __always_inline bool of_backend(const struct packet *pkt, struct capture *found,
				       const bool v6)
{
	union flow_key key;
	struct flow *row;
	bool embryonic;

	flow_key_set(&key, &pkt->dst, pkt->dport, pkt->protocol, v6);
	row = flow_find(&key, &embryonic, v6);
	if (!row || (row->flags & FLOW_DIRECT))
		return false;
	if (at_backend(row, &pkt->src, pkt->sport, v6)) {
		take_row(found, row, SENT_BY_SERVICE, true);
		return true;
	}
	if (row->vip_port != pkt->sport || !flow_dialled(row, &pkt->src, v6))
		return false;
	take_row(found, row, SENT_BY_SERVICE, false);
	return true;
}

/* of_vip() - does it dial a service, or come from one's VIP, without a flow that is known? */
static __always_inline bool of_vip(const struct packet *pkt, struct capture *found, const bool v6)
{
	struct vip *vip = vip_lookup(network_id, &pkt->dst, v6);
	__be16 port;

	if (vip)
		found->service = vip_service(vip, network_id, &pkt->dst, pkt->dport, pkt->protocol,
					     &port, v6);
	found->sender = SENT_BY_CLIENT;
	if (found->service)
		return true;
	vip = vip_lookup(network_id, &pkt->src, v6);
	if (vip)
		found->service = vip_service(vip, network_id, &pkt->src, pkt->sport, pkt->protocol,
					     &port, v6);
	found->sender = SENT_BY_SERVICE;
	return found->service;
}

static __always_inline bool is_wanted(const struct packet *pkt, const struct capture *found)
{
	const struct addr *from = found->sender == SENT_BY_CLIENT ? &pkt->src : &pkt->dst;
	int i;

	if (wanted_service && found->service != wanted_service)
		return false;
	if (wanted_backend && found->backend != wanted_backend)
		return false;
	for (i = 0; i < 4; i++)
		if ((from->words[i] ^ client[i]) & client_mask[i])
			return false;
	return true;
}

/* may_keep() - one more in this window? Roughly: CPUs that begin one at once let in some more. */
static __always_inline bool may_keep(void)
{
	__u64 now = bpf_jiffies64();

	if (now - window_since >= rate_window_jiffies) {
		window_since = now;
		window_packets = 0;
	}
	if (__sync_fetch_and_add(&window_packets, 1) < rate_packets)
		return true;
	__sync_fetch_and_add(&left_out, 1);
	return false;
}

static __always_inline void keep(struct __sk_buff *skb, const struct packet *pkt,
				 struct capture *record)
{
	__u32 kept = snap_bytes ?: pkt->l4_offset + pkt->l4_bytes;

	if (kept > skb->len)
		kept = skb->len;
	if (kept > CAPTURE_BYTES)
		kept = CAPTURE_BYTES;
	/* One register for the bounds and their use: clang 19 makes two, which 6.1 does not see. */
	asm volatile("" : "+r"(kept));
	if (kept < ETH_HLEN || kept > CAPTURE_BYTES ||
	    bpf_skb_load_bytes(skb, 0, record->data, kept))
		return;
	record->kept = kept;
	if (bpf_ringbuf_output(&captures, record, CAPTURE_HEAD + kept, 0))
		__sync_fetch_and_add(&left_out, 1);
}

static __always_inline int look(struct __sk_buff *skb, bool leaves, const bool v6)
{
	const __u32 only = 0;
	struct capture *record = bpf_map_lookup_elem(&capture_scratch, &only);
	struct packet pkt;

	if (!record)
		return 0;
	parse(skb, &pkt, v6);
	if (pkt.kind != PACKET_FLOW)
		return 0;
	__builtin_memset(record, 0, CAPTURE_HEAD);
	if (!of_client(&pkt, record, v6) && !of_backend(&pkt, record, v6) &&
	    !of_vip(&pkt, record, v6))
		return 0;
	if (!is_wanted(&pkt, record) || !may_keep())
		return 0;
	record->at_ns = bpf_ktime_get_ns();
	record->ifindex = skb->ifindex;
	record->bytes = skb->len;
	record->leaves = leaves;
	record->protocol = pkt.protocol;
	record->starts = starts_flow(&pkt);
	keep(skb, &pkt, record);
	return 0;
}

__noinline int look4(struct __sk_buff *skb, bool leaves)
{
	return look(skb, leaves, false);
}

__noinline int look6(struct __sk_buff *skb, bool leaves)
{
	return look(skb, leaves, true);
}

static __always_inline int capture(struct __sk_buff *skb, bool leaves)
{
	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		look4(skb, leaves);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		look6(skb, leaves);
	return VERDICT_PASS;
}

SEC("tc")
int capture_before(struct __sk_buff *skb)
{
	return capture(skb, false);
}

SEC("tc")
int capture_behind(struct __sk_buff *skb)
{
	return capture(skb, true);
}
