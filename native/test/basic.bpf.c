/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every shape of map and value, and a program for each hook. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define EXPORT_ENUM(name) const volatile enum name export_##name SEC(".rodata.types")

enum colour {
	RED,
	GREEN = 5,
	BLUE = -3,
};
EXPORT_ENUM(colour);

enum wide {
	WIDE_ONE = 1,
	WIDE_LARGE = 0x100000000ULL,
};
EXPORT_ENUM(wide);

struct inner {
	__u16 a;
	__be16 port;
};

struct key {
	__u32 id;
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct record {
	__u64 packets;
	__s64 balance;
	__be64 cookie;
	__u32 count;
	__s32 delta;
	__be32 addr;
	enum colour colour;
	char name[12];
	__u8 mac[6];
	__s8 level;
	bool up;
	struct inner inner;
	struct inner list[2];
	__u16 low : 3;
	__u16 mid : 10;
	__u16 high : 3;
	__u16 pad;
	union {
		__u32 word;
		__be16 halves[2];
	} either;
	union {
		__u32 one;
		struct {
			__u16 two;
			__u16 three;
		};
	};
	struct {
		__u32 flat;
	};
	__u32 pad2;
};

struct small {
	__u32 a;
	__u32 b;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct key);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct small);
} smalls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3000);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} spread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct small);
} spread_hash SEC(".maps");

struct trie_key {
	__u32 prefixlen;
	__u8 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct trie_key);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__uint(value_size, 4);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} ring SEC(".maps");

int jumped(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} jumps SEC(".maps") = {
	.values =
		{
			[0] = (void *)&jumped,
		},
};

struct event {
	__u32 sequence;
	__be32 addr;
	char text[8];
};
/* Only ring buffer records have it: nothing else would bring it into BTF. */
const volatile struct event export_event SEC(".rodata.types");

const volatile __u32 answer = 42;
const volatile __u64 large = 1;
const volatile __u8 mac[6] = {1, 2, 3, 4, 5, 6};
const volatile __be16 port = 0;
const volatile bool enabled = false;

__u64 runs = 0;
__u32 seed = 7;

SEC("tc")
int jumped(struct __sk_buff *skb)
{
	(void)skb;
	return 77;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	__u32 key = 1;
	__u32 *value = bpf_map_lookup_elem(&spread, &key);

	if (value)
		*value += 1;
	__sync_fetch_and_add(&runs, 1);
	skb->mark = answer;
	return enabled ? (int)bpf_ntohs(port) : 0;
}

SEC("tc")
int second(struct __sk_buff *skb)
{
	skb->mark = 99;
	return 2;
}

SEC("tc")
int jump(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 0);
	return 1;
}

SEC("tc")
int emit(struct __sk_buff *skb)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

	if (!event)
		return 1;
	event->sequence = __sync_fetch_and_add(&runs, 1);
	event->addr = bpf_htonl(0x0a000001);
	__builtin_memcpy(event->text, "event\0\0", 8);
	bpf_ringbuf_submit(event, 0);
	(void)skb;
	return 0;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("xdp")
int grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -16) ? XDP_ABORTED : XDP_TX;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return ctx->user_port == bpf_htons(7) ? 0 : 1;
}

SEC("sk_lookup")
int find_socket(struct bpf_sk_lookup *ctx)
{
	(void)ctx;
	return SK_PASS;
}

/* Just what the iterator reads, relocated to the running kernel. */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));
struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
} __attribute__((preserve_access_index));

SEC("iter/bpf_map")
int list_maps(struct bpf_iter__bpf_map *ctx)
{
	static const char format[] = "%u\n";
	struct bpf_map *map = ctx->map;
	__u64 id;

	if (!map)
		return 0;
	id = map->id;
	bpf_seq_printf(ctx->meta->seq, format, sizeof(format), &id, sizeof(id));
	return 0;
}

char _license[] SEC("license") = "GPL";
