/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What those who watch are told by the connect and sendmsg hooks. There the client has
 * no address yet: it is not known.
 */
#ifndef FAIRLEAD_SOCKEVENT_H
#define FAIRLEAD_SOCKEVENT_H

#include "event.h"
#include "maps.h"
#include "sock.h"

static __always_inline struct flow_event *event_dialled(enum watch_kind kind,
							const struct endpoint *to,
							const struct match *match, __u32 backend_id)
{
	static const __be32 unknown[4] = {};
	struct watching *asked = watching_of();
	struct flow_event *event;

	if (!asked || !(asked->kinds & WATCH_BIT(kind)) ||
	    !is_asked(asked, unknown, 0, match->service, backend_id) || !may_tell(asked, true))
		return NULL;
	event = event_reserve(asked);
	if (!event)
		return NULL;
	event_ends(event, unknown, 0, to->addr, to->port);
	event->kind = kind;
	event->service = match->service;
	event->protocol = to->protocol;
	event->path = PATH_SOCK;
	event->network = match->network;
	return event;
}

static __always_inline void tell_refused(const struct endpoint *to, const struct match *match,
					 enum drop_reason reason)
{
	struct flow_event *event = event_dialled(WATCH_REFUSED, to, match, 0);

	if (!event)
		return;
	event->reason = reason;
	bpf_ringbuf_submit(event, 0);
}

/* tell_connected() - of a UDP socket; TCP is told of when the kernel connects it. */
static __always_inline void tell_connected(const struct endpoint *to, const struct match *match,
					   __u32 backend_id, const struct backend *backend)
{
	struct flow_event *event = event_dialled(WATCH_OPENED, to, match, backend_id);

	if (!event)
		return;
	event_backend(event, match->service, backend_id, backend->incarnation, match->target_port);
	bpf_ringbuf_submit(event, 0);
}

#endif
