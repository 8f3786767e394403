// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The sweep over the flow tables, run by the agent: deletes rows that have been idle
 * too long or lost their backend, and recounts active connections, which drift because
 * an LRU table evicts without a word.
 *
 * Flows come and go meanwhile. A row is met at some time between begin and end, so what
 * was counted is compared with the mean of what the gauge said at both; at rest that is
 * exact, and the difference is added, never written over.
 */
#include "snat.h"
#include "via.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct recount {
	__u64 counted;
	__u64 before;
	__u64 ended; /* rows that stay although their flow has ended */
};

/* Whom the agent tells of the end of a TCP flow. */
struct ending {
	__be32 client[4];
	__be32 vip[4];
	__be32 backend[4]; /* all 0: it is not told */
	__be32 source[4];  /* of the client, as the backend has it */
	__be32 node[4];	   /* where the tunnel to the backend ends; all 0: there is none */
	__u32 network;
	__be16 client_port;
	__be16 source_port; /* the same of its port */
	__be16 vip_port;
	__be16 backend_port;
};

/* Without a variable of its type the record does not reach BTF. */
const volatile struct ending export_ending SEC(".rodata.types");

#define MAX_ENDINGS 4096

/* Of one run: the first `endings_told`. What is too many ends in a later run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_ENDINGS);
	__type(key, __u32);
	__type(value, struct ending);
} endings SEC(".maps");

/* index: backend id. Of one run at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct recount);
} recounts SEC(".maps");

/* Backend ids are below this. */
const volatile __u32 backend_rows = MAX_BACKENDS;

/* What the last run found, for the agent. */
__u32 swept_jiffies; /* when it began */
__u64 rows_kept;
__u64 rows_deleted;
__u64 connections_mended;
__u64 endings_told;

/* What a row of either family is about: its client's side, and what that dialled. */
struct side {
	__be32 addr[4];
	__be32 vip[4];
	__be32 source[4]; /* the client as the backend has it */
	__u32 network;
	__be16 port; /* the same of its port */
	__u8 protocol;
	bool snat; /* the backend takes this node for the client */
};

static __always_inline void side_of_flow4(struct side *side, const struct flow4_key *key,
					  const struct flow4 *row)
{
	struct addr addr;

	addr_set4(&addr, key->client);
	addr_copy(side->addr, addr.words);
	addr_copy(side->source, addr.words);
	addr_set4(&addr, row->vip);
	addr_copy(side->vip, addr.words);
	side->network = key->network;
	side->port = key->client_port;
	side->protocol = key->protocol;
}

static __always_inline void side_of_flow6(struct side *side, const struct flow6_key *key,
					  const struct flow6 *row)
{
	addr_copy(side->addr, key->client);
	addr_copy(side->source, key->client);
	addr_copy(side->vip, row->vip);
	side->network = key->network;
	side->port = key->client_port;
	side->protocol = key->protocol;
}

static __always_inline void side_of_snat(struct side *side, const struct snat_key *key,
					 const struct snat_flow *row)
{
	addr_copy(side->addr, row->client);
	addr_copy(side->source, key->source);
	addr_copy(side->vip, row->vip);
	side->port = key->source_port;
	side->protocol = key->protocol;
	side->snat = true;
}

/*
 * is_to_tell() - is the end of this flow told?
 *
 * Only of flows whose client has answered: it may have been forged before. Of one that came
 * in by another node than its backend's, which dialled itself, the tunnel would not bring
 * the answers back.
 */
static __always_inline bool is_to_tell(const struct flow *row, const struct side *side)
{
	const struct timers *own = bpf_map_lookup_elem(&timers, &row->service);

	if (!own || !own->resets || side->protocol != IPPROTO_TCP)
		return false;
	if ((row->flags & FLOW_HAIRPIN) && !side->network)
		return false;
	return (row->flags & FLOW_ESTABLISHED) && !(row->flags & FLOW_ENDED);
}

/*
 * tell_backend() - note where the backend is told; FLOW_TOLD, if the row has to stay until
 * the next run, for what the backend answers to be known by.
 *
 * One that answers its clients past this node is not told: its answer would not come by.
 */
static __always_inline void tell_backend(struct ending *ending, struct flow *row,
					 const struct side *side, const struct backend *backend)
{
	const struct via *via = side->network || side->snat ? NULL : via_of(row->backend);

	if (via && via->kind != VIA_ENTRY)
		return;
	if (via)
		addr_copy(ending->node, via->addr);
	addr_copy(ending->backend, backend->addr);
	if (!side->network && !side->snat)
		row->flags |= FLOW_TOLD;
}

/*
 * tell() - note the end of a flow, if its service wants that told.
 * @backend: NULL: it is gone
 *
 * Returns false when there is no room: the flow ends in a later run.
 */
static __always_inline bool tell(struct flow *row, const struct side *side,
				 const struct backend *backend)
{
	const bool hairpin = row->flags & FLOW_HAIRPIN;
	__u32 index = endings_told;
	struct ending *ending;

	if (!is_to_tell(row, side) || (hairpin && !backend))
		return true;
	ending = bpf_map_lookup_elem(&endings, &index);
	if (!ending)
		return false;
	__builtin_memset(ending, 0, sizeof(*ending));
	addr_copy(ending->client, hairpin ? backend->addr : side->addr);
	addr_copy(ending->vip, side->vip);
	addr_copy(ending->source, side->source);
	if (backend)
		tell_backend(ending, row, side, backend);
	ending->network = side->network;
	ending->client_port = row->client_port;
	ending->source_port = side->port;
	ending->vip_port = row->vip_port;
	ending->backend_port = row->backend_port;
	endings_told++;
	return true;
}

static __always_inline void tell_ends(void)
{
	if (*(volatile __u32 *)&tellers)
		tell_end();
}

/*
 * stays() - is the row still of use? Counts it if it is an active connection.
 * @v6: its VIP has four words
 */
static __always_inline bool stays(struct flow *row, const struct side *side, __u32 now,
				  const bool v6)
{
	const enum hook_path path = side->network ? PATH_TC : PATH_XDP;
	const struct addr *client = (const struct addr *)side->addr;
	bool expired = flow_expired(row, side->protocol, now);
	struct recount *recount;
	struct backend *backend;

	if (row->flags & FLOW_DIRECT)
		return !expired;
	backend = backend_alive(row->backend, row->service, row->incarnation);
	if (!backend) {
		if (!tell(row, side, NULL))
			return true;
		flow_end_in(row, END_GONE, client, side->protocol, side->network, path, v6);
		tell_ends();
		return false;
	}
	recount = bpf_map_lookup_elem(&recounts, &row->backend);
	if (!recount)
		return !expired;
	if (row->flags & FLOW_ENDED) {
		recount->ended += !expired;
		return !expired;
	}
	if (expired && tell(row, side, backend)) {
		/* What ends here is no drift: as if it had not been there at the start. */
		recount->before--;
		flow_end_in(row, END_IDLE, client, side->protocol, side->network, path, v6);
		tell_ends();
		return row->flags & FLOW_TOLD;
	}
	recount->counted++;
	return true;
}

#define VISIT(table, type, v6)                                                                     \
	static long visit_##table(void *map, struct type##_key *key, struct type *row, __u32 *now) \
	{                                                                                          \
		struct side side = {};                                                             \
                                                                                                   \
		(void)map;                                                                         \
		side_of_##type(&side, key, row);                                                   \
		if (stays(&row->flow, &side, *now, v6)) {                                          \
			rows_kept++;                                                               \
		} else {                                                                           \
			bpf_map_delete_elem(&table, key);                                          \
			rows_deleted++;                                                            \
		}                                                                                  \
		return 0;                                                                          \
	}

VISIT(flows4, flow4, false)
VISIT(flows6, flow6, true)
VISIT(embryonic4, flow4, false)
VISIT(embryonic6, flow6, true)

#define VISIT_SNAT(table)                                                                          \
	static long visit_##table(void *map, struct snat_key *key, struct snat_flow *row,          \
				  __u32 *now)                                                      \
	{                                                                                          \
		struct side side = {};                                                             \
                                                                                                   \
		(void)map;                                                                         \
		side_of_snat(&side, key, row);                                                     \
		if (stays(&row->flow, &side, *now, true)) {                                        \
			rows_kept++;                                                               \
		} else {                                                                           \
			snat_forget(key, row);                                                     \
			bpf_map_delete_elem(&table, key);                                          \
			rows_deleted++;                                                            \
		}                                                                                  \
		return 0;                                                                          \
	}

VISIT_SNAT(snats)
VISIT_SNAT(embryonic_snats)

static long begin_backend(__u32 id, void *unused)
{
	struct recount *recount = bpf_map_lookup_elem(&recounts, &id);
	__u64 *active = bpf_map_lookup_elem(&actives, &id);
	__u64 *sock = bpf_map_lookup_elem(&sock_actives, &id);

	(void)unused;
	if (!recount || !active || !sock)
		return 1;
	recount->counted = 0;
	recount->ended = 0;
	recount->before = *active - *sock;
	return 0;
}

static __always_inline void count_evicted(__u32 backend_id, __u64 flows)
{
	__u32 index = backend_id * PATH_COUNT + PATH_TC;
	struct ended *row = bpf_map_lookup_elem(&backend_ends, &index);

	if (row)
		__sync_fetch_and_add(&row->by[END_EVICTED], flows);
}

static long end_backend(__u32 id, void *unused)
{
	struct recount *recount = bpf_map_lookup_elem(&recounts, &id);
	__u64 *active = bpf_map_lookup_elem(&actives, &id);
	__u64 *sock = bpf_map_lookup_elem(&sock_actives, &id);
	struct backend *backend = bpf_map_lookup_elem(&backends, &id);
	__u32 evicted = END_EVICTED * PATH_COUNT + PATH_TC;
	__u64 *inactive = bpf_map_lookup_elem(&inactives, &id);
	__s64 mean, drift;
	__u64 *count;

	(void)unused;
	if (!recount || !active || !sock || !inactive)
		return 1;
	if (*inactive != recount->ended)
		*inactive = recount->ended;
	if (!backend || !backend->service)
		return 0;
	/* Of twice the figures, lest a half be lost at each sweep. */
	mean = recount->before + (*active - *sock);
	drift = 2 * (__s64)recount->counted - mean;
	if (drift >= 2) {
		__sync_fetch_and_add(active, drift >> 1);
		connections_mended += drift >> 1;
	} else if (drift <= -2) {
		drift = -drift >> 1;
		if ((__u64)drift > *active)
			drift = *active;
		__sync_fetch_and_add(active, -drift);
		connections_mended += drift;
		count = bpf_map_lookup_elem(&ends, &evicted);
		if (count)
			*count += drift;
		count_evicted(id, drift);
	}
	return 0;
}

SEC("syscall")
int sweep(void *ctx)
{
	__u32 now = now_jiffies();

	(void)ctx;
	swept_jiffies = now;
	rows_kept = 0;
	rows_deleted = 0;
	connections_mended = 0;
	endings_told = 0;
	bpf_loop(backend_rows, begin_backend, NULL, 0);
	bpf_for_each_map_elem(&flows4, visit_flows4, &now, 0);
	bpf_for_each_map_elem(&flows6, visit_flows6, &now, 0);
	bpf_for_each_map_elem(&embryonic4, visit_embryonic4, &now, 0);
	bpf_for_each_map_elem(&embryonic6, visit_embryonic6, &now, 0);
	bpf_for_each_map_elem(&snats, visit_snats, &now, 0);
	bpf_for_each_map_elem(&embryonic_snats, visit_embryonic_snats, &now, 0);
	bpf_loop(backend_rows, end_backend, NULL, 0);
	return 0;
}
