/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Telling those who watch: which events, how many, and the record of each. While nobody
 * does, an event costs the test in watches(): one word of a line that nobody writes.
 *
 * Each is looked at in the order of what that costs: is it asked for, may it be told, is
 * there room. What is asked for and not told is counted in `unwatched`.
 */
#ifndef FAIRLEAD_EVENT_H
#define FAIRLEAD_EVENT_H

#include <stdbool.h>

#include "backend.h"
#include "config.h"
#include "count.h"
#include "effect.h"
#include "maps.h"
#include "net.h"
#include "observe.h"

#define WATCH_BIT(kind) (1U << (kind))
#define WATCH_ENDS (WATCH_BIT(WATCH_CLOSED) | WATCH_BIT(WATCH_RESET))
#define WATCH_LOSSES (WATCH_BIT(WATCH_REFUSED) | WATCH_BIT(WATCH_DROPPED))
#define WATCH_ANY ((1U << WATCH_COUNT) - 1)

static __always_inline struct watching *watching_of(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&watchers, &only);
}

/* watches() - does anybody watch for one of these kinds? */
static __always_inline bool watches(__u32 bits)
{
	const struct watching *asked = watching_of();

	return MAY_WRITE && asked && (asked->kinds & bits);
}

/* lot_of() - which of many flows: the same for all events of one. */
static __always_inline __u32 lot_of(const __be32 client[4], __be16 port)
{
	return ((client[0] ^ client[1] ^ client[2] ^ client[3] ^ port) * 0x9e3779b1U) >> 8;
}

/* Preemption may interrupt it on the socket path. */
static __always_inline void count_loss(enum watch_loss loss)
{
	__u32 index = loss;
	__u64 *row = bpf_map_lookup_elem(&unwatched, &index);

	if (row)
		__sync_fetch_and_add(row, 1);
}

/* is_asked() - does what is asked for take in this flow? @client: all 0 if not known */
static __always_inline bool is_asked(const struct watching *asked, const __be32 client[4],
				     __be16 client_port, __u32 service, __u32 backend_id)
{
	int i;

	if (asked->service && asked->service != service)
		return false;
	if (asked->backend && asked->backend != backend_id)
		return false;
	for (i = 0; i < 4; i++)
		if ((client[i] & asked->client_mask[i]) != asked->client[i])
			return false;
	return asked->one_in <= 1 || lot_of(client, client_port) % asked->one_in == 0;
}

/* may_tell() - count one more; @counts: it is a loss if there have been too many. */
static __always_inline bool may_tell(const struct watching *asked, bool counts)
{
	const __u32 only = 0;
	struct watch_window *window = bpf_map_lookup_elem(&watch_windows, &only);
	__u32 now = bpf_jiffies64();

	if (!window)
		return false;
	if (now - window->since >= asked->window_jiffies) {
		window->since = now;
		window->told = 0;
	}
	/* Looked at before it is written: under a flood its line stays with every CPU. */
	if (*(volatile __u32 *)&window->told < asked->window_events &&
	    __sync_fetch_and_add(&window->told, 1) < asked->window_events)
		return true;
	if (counts)
		count_loss(LOSS_RATE);
	return false;
}

/* event_reserve() - a record to be submitted, all 0 but for its time; NULL: none. */
static __always_inline struct flow_event *event_reserve(struct watching *asked)
{
	__u64 now = bpf_ktime_get_ns();
	struct flow_event *event;

	if (now > asked->until_ns) {
		asked->kinds = 0;
		return NULL;
	}
	event = bpf_ringbuf_reserve(&flow_events, sizeof(*event), 0);
	if (!event) {
		count_loss(LOSS_ROOM);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = now;
	return event;
}

/* event_ends() - who the event is about. */
static __always_inline void event_ends(struct flow_event *event, const __be32 client[4],
				       __be16 client_port, const __be32 vip[4], __be16 vip_port)
{
	addr_copy(event->client, client);
	addr_copy(event->vip, vip);
	event->client_port = client_port;
	event->vip_port = vip_port;
	event->lot = lot_of(client, client_port);
}

/* event_backend() - @port: 0: as of none */
static __always_inline void event_backend(struct flow_event *event, __u32 service, __u32 backend_id,
					  __u32 incarnation, __be16 port)
{
	const struct backend *backend = backend_alive(backend_id, service, incarnation);

	event->service = service;
	event->backend_id = backend_id;
	event->backend_port = port;
	if (backend)
		addr_copy(event->backend, backend->addr);
}

static __always_inline void event_observed(struct flow_event *event,
					   const struct observation *noted)
{
	if (!noted)
		return;
	event->observed = 1;
	event->duration_ns = event->time_ns - noted->begun_ns;
	event->packets_in = noted->packets_in;
	event->bytes_in = noted->bytes_in;
	event->packets_out = noted->packets_out;
	event->bytes_out = noted->bytes_out;
}

/*
 * How a flow ended, in one word: enum flow_end, enum hook_path, protocol and network, whose
 * ids are below 65,536.
 */
#define END_WORD(reason, path, protocol, network)                                                  \
	((__u32)(reason) | (__u32)(path) << 4 | (__u32)(protocol) << 8 | (__u32)(network) << 16)
#define END_WORD_REASON(word) ((word) & 0xf)
#define END_WORD_PATH(word) ((word) >> 4 & 0xf)
#define END_WORD_PROTOCOL(word) ((word) >> 8 & 0xff)
#define END_WORD_NETWORK(word) ((word) >> 16)

/*
 * What is to be told when the program is about to end. The steps in which it comes up
 * have no stack left for it: 512 bytes have to do for a whole chain of calls.
 */
struct telling {
	struct flow_event end; /* of a flow; without what is looked up when it is told */
	__u32 has_end;
	__u32 ticket; /* of that flow, if it was watched; else 0 */
	__u32 incarnation;
	__u32 opened;  /* 1: the flow that admission has stored */
	__u32 dropped; /* enum drop_reason; DROP_NONE: no packet was */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct telling);
} tellings SEC(".maps");

/* How many CPUs have something to tell just now: what every packet looks at. */
__u32 tellers;

static __always_inline struct telling *telling_of(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&tellings, &only);
}

/* telling_mark() - @what: of struct telling; @value: not 0 */
static __always_inline void telling_mark(__u32 *what, __u32 value)
{
	if (!*what)
		__sync_fetch_and_add(&tellers, 1);
	*what = value;
}

/* telling_take() - 0: there is nothing of the kind to be told. */
static __always_inline __u32 telling_take(__u32 *what)
{
	__u32 value = *what;

	if (value)
		__sync_fetch_and_add(&tellers, -1);
	*what = 0;
	return value;
}

/*
 * note_end() - a flow has ended.
 * @client: two halves of its address
 * @word:   of END_WORD()
 * @v6:     its VIP has four words
 */
static __always_inline void note_end(const struct flow *row, const __u64 client[2], __u32 word,
				     const bool v6)
{
	struct telling *telling = telling_of();
	struct flow_event *end;

	if (!telling)
		return;
	telling_mark(&telling->has_end, 1);
	telling->ticket = row->flags & FLOW_WATCHED ? row->observed : 0;
	telling->incarnation = row->incarnation;
	end = &telling->end;
	__builtin_memcpy(end->client, client, sizeof(end->client));
	if (v6)
		addr_copy(end->vip, ((const struct flow6 *)row)->vip);
	else
		addr_set4((struct addr *)end->vip, ((const struct flow4 *)row)->vip);
	end->client_port = row->client_port;
	end->vip_port = row->vip_port;
	end->backend_port = row->backend_port;
	end->service = row->service;
	end->backend_id = row->backend;
	end->network = END_WORD_NETWORK(word);
	end->reason = END_WORD_REASON(word);
	end->protocol = END_WORD_PROTOCOL(word);
	end->path = END_WORD_PATH(word);
}

/* tell_end() - of the flow that was noted. */
__noinline int tell_end(void)
{
	struct watching *asked = watching_of();
	struct telling *telling = telling_of();
	const struct flow_event *end;
	struct flow_event *event;
	__u32 kind;

	if (!asked || !telling || !telling_take(&telling->has_end))
		return 0;
	end = &telling->end;
	kind = end->reason == END_RESET ? WATCH_RESET : WATCH_CLOSED;
	if (!(asked->kinds & WATCH_BIT(kind)) ||
	    !is_asked(asked, end->client, end->client_port, end->service, end->backend_id) ||
	    !may_tell(asked, true))
		return 0;
	event = event_reserve(asked);
	if (!event)
		return 0;
	event_ends(event, end->client, end->client_port, end->vip, end->vip_port);
	event_backend(event, end->service, end->backend_id, telling->incarnation,
		      end->backend_port);
	event_observed(event, observation_of(telling->ticket));
	event->kind = kind;
	event->reason = end->reason;
	event->protocol = end->protocol;
	event->path = end->path;
	event->network = end->network;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* drop_note() - a packet is dropped. */
static __always_inline void drop_note(enum drop_reason reason)
{
	struct telling *telling;

	if (!watches(WATCH_BIT(WATCH_DROPPED)))
		return;
	telling = telling_of();
	if (telling)
		telling_mark(&telling->dropped, reason);
}

/* drop_noted() - DROP_NONE: none was, or it has been told. */
static __always_inline enum drop_reason drop_noted(void)
{
	struct telling *telling = telling_of();

	return telling ? telling_take(&telling->dropped) : DROP_NONE;
}

#endif
