/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, record and enum that the programs share with the agent: the only
 * description of a layout. The agent reads it from BTF and binds field names at
 * start, so a renamed or re-typed field fails there and nowhere else.
 *
 * An address of either family is four big-endian words; IPv4 is written
 * v4-mapped (0, 0, ::ffff, a.b.c.d). Keys of the IPv4 hot path stay compact.
 *
 * Enums name constants only: records hold plain integers, because an enum as an
 * array-map key is refused with BTF. EXPORT_ENUM keeps them in the object's BTF.
 */
#ifndef FAIRLEAD_MAPS_H
#define FAIRLEAD_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "effect.h"

/* Raised whenever a pinned record changes shape or meaning. */
#define LAYOUT_VERSION 2

#define MAX_SOCKET_NETWORKS 8

/* Without a variable of its type an enum does not reach BTF. */
#define EXPORT_ENUM(name) const volatile enum name export_##name SEC(".rodata.types")

/* The hook family that handled a connection. */
enum hook_path {
	PATH_TC,
	PATH_SOCK,
	PATH_XDP,
	PATH_COUNT,
};

/* Why a packet or a call was not carried. Counted per path in `drops`. */
enum drop_reason {
	DROP_NONE,
	DROP_NO_BACKEND,     /* the service has no usable backend: refused */
	DROP_NO_PORT,	     /* the VIP has no such port: refused */
	DROP_NO_SERVICE,     /* a port row names a service that is not there */
	DROP_BAD_SLOT,	     /* the ring names no usable backend: maps disagree */
	DROP_NO_FLOW,	     /* TCP without a flow that does not start one: reset */
	DROP_BACKEND_GONE,   /* a TCP flow whose backend was removed: reset */
	DROP_FLOW_TABLE,     /* the flow could not be stored */
	DROP_NO_SOURCE_PORT, /* no free source port: after a collision, or of those for snat */
	DROP_FRAGMENT,	     /* a fragment to a VIP whose first was not seen */
	DROP_MALFORMED,	     /* headers shorter than they claim */
	DROP_PROTOCOL,	     /* neither TCP, UDP nor echo, addressed to a VIP */
	DROP_REWRITE,	     /* the kernel refused a rewrite of the packet */
	DROP_TOO_BIG,	     /* does not fit the tunnel to its backend: told so */
	DROP_NO_ROUTE,	     /* this node has no route to the backend, or its node */
	DROP_PEER,	     /* in a tunnel from a node that is none of ours */
	DROP_SOURCE_DENIED,  /* the client may not use the service */
	DROP_OVERLOADED,     /* every backend has as many flows as it may: refused */
	DROP_ICMP_ERROR,     /* an ICMP error to a VIP about no flow of it */
	DROP_COUNT,
};

/* Things worth a counter that drop nothing. Counted per path in `events`. */
enum event {
	EVENT_ECHO,	      /* ICMP or ICMPv6 echo answered for a VIP */
	EVENT_ARP,	      /* ARP request answered for a VIP */
	EVENT_ND,	      /* neighbour solicitation answered for a VIP */
	EVENT_COLLISION,      /* a flow was given another source port or backend */
	EVENT_RESELECT,	      /* a flow changed backend in place */
	EVENT_FLOW_REPAIRED,  /* half of an overflow pair was put back */
	EVENT_REFUSED,	      /* a refusal was sent (RST, unreachable, ECONNREFUSED) */
	EVENT_AFFINITY_MOVED, /* a client was given another backend than it had kept */
	EVENT_ICMP_ERROR,     /* an ICMP error about a flow was translated */
	EVENT_STATELESS,      /* a packet was led by its hash alone, without a row */
	EVENT_COUNT,
};

enum algorithm {
	ALGORITHM_RR,	  /* the next slot of the ring, from a shared cursor */
	ALGORITHM_WRR,	  /* the same, over a ring laid out smoothly by weight */
	ALGORITHM_RANDOM, /* a pseudo-random slot */
	ALGORITHM_LC,	  /* the fewest live flows; one slot a backend */
	ALGORITHM_WLC,	  /* the fewest live flows for its weight; one slot a backend */
	ALGORITHM_SH,	  /* by hash of the client's address, over a Maglev table */
	ALGORITHM_MAGLEV, /* by hash of the 5-tuple, over a Maglev table */
};

enum vip_flag {
	VIP_BALANCED = 1, /* an address of services; answers ARP, ND and echo */
	VIP_ANY_PORT = 2, /* every TCP and UDP port belongs to `service` */
	VIP_BACKEND = 4,  /* also, or only, an address of a backend */
	VIP_NODE = 8,	  /* an address of this node, of which only published ports are ours */
};

enum backend_flag {
	BACKEND_ON_LINK = 1, /* inside a subnet of its network: no router between */
	BACKEND_CLOSED = 2,  /* takes no new flow: draining, down, or standing by */
};

enum service_flag {
	SERVICE_SOURCES = 1,	 /* there are rows in `sources` for it */
	SERVICE_LISTED_ONLY = 2, /* some name who may use it: nobody else may */
};

enum source_rule {
	SOURCE_ALLOW = 1,
	SOURCE_DENY = 2,
};

/* What identifies a client; addresses of different families may look alike. */
enum client_kind {
	CLIENT_ADDRESS4 = 1,
	CLIENT_ADDRESS6,
	CLIENT_NETNS4, /* socket path: the namespace's cookie, dialling IPv4 */
	CLIENT_NETNS6,
};

enum flow_flag {
	FLOW_DIRECT = 1,      /* dialled without a VIP; kept to see collisions */
	FLOW_ESTABLISHED = 2, /* TCP: both sides have spoken; UDP: a reply was seen */
	FLOW_FIN_CLIENT = 4,
	FLOW_FIN_BACKEND = 8,
	FLOW_RESET = 16,
	FLOW_ENDED = 32,    /* no active connection any more; the row only sees it off */
	FLOW_HAIRPIN = 64,  /* the client is the backend; the key has the VIP in its place */
	FLOW_TIMED = 128,   /* its handshake is under way and will be counted */
	FLOW_WATCHED = 256, /* its traffic is added up for those who watch */
	FLOW_TOLD = 512, /* over; what its backend says to the outside is answered with a reset */
};

/* Why a flow was an active connection no longer. Counted per path in `ends`. */
enum flow_end {
	END_FIN,     /* both sides have closed, or the client began anew */
	END_RESET,   /* either side reset it */
	END_IDLE,    /* no packet for longer than its timer */
	END_GONE,    /* its backend was removed */
	END_EVICTED, /* its row made room for another */
	END_COUNT,
};

/* What is told to those who watch. */
enum watch_kind {
	WATCH_OPENED,
	WATCH_CLOSED, /* for a reason of flow_end that is not END_RESET */
	WATCH_RESET,
	WATCH_REFUSED, /* for a reason of drop_reason; the client was told */
	WATCH_DROPPED, /* for a reason of drop_reason */
	WATCH_COUNT,
};

/* Which events nobody was told of. Counted in `unwatched`. */
enum watch_loss {
	LOSS_RATE, /* more than may be told in a while */
	LOSS_ROOM, /* the buffer was full: nobody reads fast enough */
	LOSS_COUNT,
};

/* Of a handshake: whose answer was waited for, and whose id the row has. */
enum handshake_part {
	HANDSHAKE_BACKEND, /* from the SYN to the backend's SYN-ACK; of a backend */
	HANDSHAKE_CLIENT,  /* from there to the client's ACK; of a service */
	HANDSHAKE_LEFT,	   /* as the first, of backends that have left; of a service */
};

/* How a packet from outside reaches a backend that is not on this node. */
enum via_kind {
	VIA_HERE,	/* translated and routed: it is on this node, or needs no detour */
	VIA_ENTRY,	/* translated and tunnelled to its node's agent; replies come back here */
	VIA_DSR_MAC,	/* as dialled, to its MAC address; it answers by itself */
	VIA_DSR_TUNNEL, /* as dialled, in IPIP or IP6IP6; it answers by itself */
	VIA_SNAT,	/* translated at both ends: it sees this node as its client */
};

enum name_kind {
	NAME_NETWORK = 1,
	NAME_SERVICE = 2,
};

EXPORT_ENUM(hook_path);
EXPORT_ENUM(drop_reason);
EXPORT_ENUM(event);
EXPORT_ENUM(algorithm);
EXPORT_ENUM(vip_flag);
EXPORT_ENUM(backend_flag);
EXPORT_ENUM(service_flag);
EXPORT_ENUM(source_rule);
EXPORT_ENUM(client_kind);
EXPORT_ENUM(flow_flag);
EXPORT_ENUM(flow_end);
EXPORT_ENUM(name_kind);
EXPORT_ENUM(via_kind);
EXPORT_ENUM(watch_kind);
EXPORT_ENUM(watch_loss);
EXPORT_ENUM(handshake_part);

/* ---- what the agent writes ------------------------------------------------ */

struct vip4_key {
	__u32 network;
	__be32 addr;
};

struct vip6_key {
	__u32 network;
	__be32 addr[4];
};

struct vip {
	__u32 flags;   /* enum vip_flag */
	__u32 service; /* with VIP_ANY_PORT; else 0 */
};

struct port4_key {
	__u32 network;
	__be32 addr;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
};

struct port6_key {
	__u32 network;
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct port {
	__u32 service;
	__be16 target_port; /* 0: the port that was dialled */
	__u16 pad;
};

/*
 * A service's ring is `slots` consecutive elements of the slots map from `ring`
 * on. The agent writes a new ring elsewhere and then replaces this row, which a
 * hash map does whole; it does not reuse the old range before its next cycle.
 */
struct service {
	__u32 ring4;  /* first slot for IPv4 */
	__u32 slots4; /* 0: refuses */
	__u32 ring6;
	__u32 slots6;
	__u8 algorithm;	       /* enum algorithm */
	__u8 flags;	       /* enum service_flag */
	__u8 affinity_prefix4; /* leading bits of a client's address that identify it */
	__u8 affinity_prefix6;
	__u32 affinity_seconds; /* 0: no affinity */
	__u32 upper;		/* flows at which a backend takes no more; 0: any number */
	__u32 lower;		/* it takes them again when it has fewer than that */
};

struct backend {
	__be32 addr[4];
	__u32 service;	   /* 0: the row is free */
	__u32 incarnation; /* tells apart two users of one id */
	__u32 flags;	   /* enum backend_flag */
	__u32 weight;	   /* for wlc, to divide by */
};

/* How long a service's flows may be idle; 0: as config.h has it. */
struct timers {
	__u32 syn_jiffies;
	__u32 established_jiffies;
	__u32 closing_jiffies;
	__u32 udp_jiffies;
	__u32 resets; /* 1: both ends of a TCP flow that the sweep ends are told */
};

/* A range of clients' addresses, by the longest prefix. */
struct source_key {
	__u32 prefix_bits; /* of all that follows */
	__u32 service;
	__u32 family; /* 4 or 6 */
	__be32 addr[4];
};

#define SOURCE_KEY_BITS 192

/* When a backend stopped taking flows: for the next agent. No program reads it. */
struct drain {
	__u64 since_ns;	   /* CLOCK_MONOTONIC */
	__u32 incarnation; /* whose flows end when the time is over */
	__u32 pad;
};

struct via {
	__be32 addr[4]; /* where the tunnel ends, or with VIA_SNAT this node's own; 0: none yet */
	__u32 kind;	/* enum via_kind */
};

/* An agent that packets in tunnels are taken from. */
struct peer_key {
	__be32 addr[4];
};

/*
 * What agents of other nodes call a container of this one in tunnels, where its address
 * here means nothing to them, and the address that it has here.
 */
struct alias_key {
	__be32 addr[4];
};

struct alias {
	__be32 addr[4];
};

struct netns {
	__u32 networks[MAX_SOCKET_NETWORKS]; /* in the order of lookup; 0 ends */
};

/* Where the agent answers in the place of a namespace's resolver; 0: it does not. */
struct resolver {
	__be16 udp_port;
	__be16 tcp_port;
};

struct name_key {
	__u32 kind; /* enum name_kind */
	__u32 id;
};

/* What an id means, so that the next agent can go on with it. */
struct name {
	char text[132]; /* a network's name, or network/service; NUL-terminated */
};

/*
 * What those who watch want to know, all of them together. The programs write `kinds`: 0
 * when the agent that set it has not been heard of for too long.
 */
struct watching {
	__u64 until_ns;	       /* CLOCK_MONOTONIC */
	__u32 kinds;	       /* a bit each, by enum watch_kind; 0: nobody watches */
	__u32 one_in;	       /* clients' ports: one in so many of them, and at least 1 */
	__u32 window_jiffies;  /* at least 1 */
	__u32 window_events;   /* told at most in that time */
	__u32 service;	       /* 0: of any */
	__u32 backend;	       /* 0: of any; else what has no backend is not told */
	__be32 client[4];      /* after the mask */
	__be32 client_mask[4]; /* all 0: of any */
};

/* A container of a bridge. Scope: the network; at the edge the bridge, as veth.h has it. */
struct veth4_key {
	__u32 scope;
	__be32 addr;
};

struct veth6_key {
	__u32 scope;
	__be32 addr[4];
};

/* The veth of a container, at whose other end it may be handed its packets. */
struct veth {
	__u32 ifindex; /* of the host side; the other one is in another namespace */
	__u8 mac[6];   /* of the other one */
	__u8 pad[2];
};

/* Nobody would tell that a container has moved once the agent is dead: it says until when. */
struct veth_lease {
	__u32 until; /* jiffies; 0: none of them holds */
};

struct layout {
	__u32 version;	   /* LAYOUT_VERSION of the agent that made the maps */
	__u32 incarnation; /* last one handed out to a backend row */
};

/* ---- what the programs write ---------------------------------------------- */

/*
 * One row carries both directions of a flow. The key is the client's side as the
 * backend sees it, so a reply finds it in one lookup; so does the forward packet
 * unless the client's port was taken by another flow. Then the flow lives under a
 * substitute port and `overflow` leads from the client's tuple to it. A backend that
 * reaches itself through a VIP sees that VIP as its client.
 */
struct flow4_key {
	__u32 network;
	__be32 client;
	__be16 client_port;
	__u8 protocol;
	__u8 pad;
};

struct flow6_key {
	__u32 network;
	__be32 client[4];
	__be16 client_port;
	__u8 protocol;
	__u8 pad;
};

struct flow {
	__be16 vip_port;
	__be16 client_port; /* the port the client uses; the key has the backend's view */
	__be16 backend_port;
	__u16 flags;	   /* enum flow_flag */
	__u32 service;	   /* 0 with FLOW_DIRECT */
	__u32 backend;	   /* 0 with FLOW_DIRECT */
	__u32 incarnation; /* of the backend row, when the flow was made */
	__u32 last_seen;   /* jiffies, low 32 bits */
	__u32 observed;	   /* with FLOW_TIMED or FLOW_WATCHED: its ticket; see observation */
};

/* With what the client dialled. An element of flows4 fits two cache lines at most. */
struct flow4 {
	struct flow flow;
	__be32 vip;
};

struct flow6 {
	struct flow flow;
	__be32 vip[4];
};

/*
 * What is noted of a flow that is timed or watched. Rows are handed out in turn and a
 * flow has a ticket for one: it is another flow's when it says another ticket. So a new
 * flow neither searches nor evicts.
 */
struct observation {
	__u64 begun_ns;	   /* CLOCK_MONOTONIC */
	__u64 answered_ns; /* 0: not yet */
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__u32 ticket; /* 0: nobody's */
	__u32 pad;
};

/* Handshakes by how long they took: up to each of config.h's bounds, and longer than all. */
#define HANDSHAKE_BUCKETS 16

struct handshake_key {
	__u32 id;   /* of a backend or a service; enum handshake_part says which */
	__u16 part; /* enum handshake_part */
	__u16 path; /* enum hook_path */
};

struct handshakes {
	__u64 sum_ns;
	__u64 counts[HANDSHAKE_BUCKETS];
};

/* How flows have ended, by enum flow_end. */
struct ended {
	__u64 by[END_COUNT];
};

/* What those who watch are told. */
struct flow_event {
	__u64 time_ns;	   /* CLOCK_MONOTONIC */
	__u64 duration_ns; /* of a closed flow; 0: not known */
	__u64 packets_in;  /* of a closed flow; with `observed` */
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__be32 client[4]; /* all 0: not known */
	__be32 vip[4];
	__be32 backend[4]; /* all 0: none, or gone */
	__be16 client_port;
	__be16 vip_port;
	__be16 backend_port;
	__u8 protocol;
	__u8 kind;     /* enum watch_kind */
	__u8 reason;   /* enum flow_end or drop_reason, by the kind */
	__u8 path;     /* enum hook_path */
	__u8 observed; /* 1: traffic and duration are known */
	__u8 pad;
	__u32 network;
	__u32 service;	  /* 0: none */
	__u32 backend_id; /* 0: none */
	__u32 lot;	  /* by client and port; those of which it is a multiple of `one_in` */
};

/* Without a variable of its type the record does not reach BTF. */
const volatile struct flow_event export_flow_event SEC(".rodata.types");

/* A datagram in fragments, as it was before translation. */
struct fragment_key {
	__u32 network;
	__be32 src[4];
	__be32 dst[4];
	__be32 id; /* IPv4: 16 bits of it, the first on the wire */
	__u8 protocol;
	__u8 pad[3];
};

struct fragment {
	__be16 sport;
	__be16 dport;
};

struct overflow_key {
	__u32 network;
	__be32 client[4];
	__be32 dialled[4];
	__be16 client_port;
	__be16 dialled_port;
	__u8 protocol;
	__u8 pad[3];
};

struct overflow {
	__be16 substitute_port; /* the client_port of the flow's key */
	__u16 hairpin;		/* 1: the key's client is the VIP that was dialled */
};

/*
 * A flow whose source is replaced too, as its backend sees it. The backend is in the key,
 * so each port of each backend has the whole range of source ports to itself.
 */
struct snat_key {
	__be32 backend[4];
	__be32 source[4]; /* this node's */
	__be16 backend_port;
	__be16 source_port;
	__u8 protocol;
	__u8 family; /* 4 or 6: an IPv6 packet may have v4-mapped addresses */
	__u8 pad[2];
};

struct snat_flow {
	struct flow flow;
	__be32 vip[4]; /* what the client dialled */
	__be32 client[4];
};

/* Who brought a flow to a backend of this node: its replies go back there. */
struct entry_key {
	__be32 client[4];
	__be32 backend[4];
	__be16 client_port;
	__be16 backend_port;
	__u8 protocol;
	__u8 pad[3];
};

struct entry {
	__be32 node[4];
	__be32 alias[4]; /* what that node calls the backend; 0: its address */
};

/*
 * How many flows a service has placed: TCP over IPv4, UDP over IPv4, TCP over IPv6,
 * UDP over IPv6. With one cursor for all, a client that dials A and AAAA in turn, or
 * whose resolver connects a UDP socket to each address before it dials (as C
 * libraries do to sort them), would reach every other slot only.
 */
struct cursor {
	__u64 placed[4];
};

/*
 * Client to service is `in`, as in IPVS. Bytes count from the IP header on; the
 * socket path sees no header: there, bytes are TCP payload that the other end
 * acknowledged (in) or that arrived in order (out), each once however often it was
 * sent, and packets are the segments of the client's socket. Both are added when
 * the connection ends; UDP counts connections alone.
 */
struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__u64 connections;
};

/* Whose client keeps which backend. */
struct affinity_key {
	__u32 service;
	__u32 kind;	  /* enum client_kind */
	__be32 client[4]; /* masked; a cookie has the last two words */
};

struct affinity {
	__u32 backend;
	__u32 incarnation;
	__u64 last_seen_ns; /* CLOCK_MONOTONIC: when it last began a flow */
};

/* ---- the socket path ------------------------------------------------------ */

/* What a connected socket dialled and where it went. Dies with the socket. */
struct sock_peer {
	__be32 vip[4];
	__be32 backend_addr[4];
	__be16 vip_port;
	__be16 backend_port;
	__u32 network;
	__u32 service;
	__u32 backend;
	__u32 incarnation;
	__u32 pad;
	__u64 begun_ns; /* TCP: CLOCK_MONOTONIC */
};

/* An unconnected UDP socket keeps one backend per VIP and port. */
struct udp_to_key {
	__u64 cookie;
	__be32 vip[4];
	__be16 vip_port;
	__u16 pad[3];
};

struct udp_to {
	__u32 network;
	__u32 service;
	__u32 backend;
	__u32 incarnation;
	__be16 backend_port;
	__u16 pad;
};

struct udp_from_key {
	__u64 cookie;
	__be32 backend_addr[4];
	__be16 backend_port;
	__u16 pad[3];
};

struct udp_from {
	__be32 vip[4];
	__be16 vip_port;
	__u16 pad;
	__u32 backend;
	__u32 incarnation;
};

/* ---- maps ----------------------------------------------------------------- */
/* Sizes here are defaults; the agent sets max_entries before load. */

#define MAX_VIPS 32768
#define MAX_PORTS 65536
#define MAX_SERVICES 16384
#define MAX_BACKENDS 65536
#define MAX_SLOTS 1048576 /* a Maglev table has 65,537, and two while it changes */
#define MAX_SOURCES 65536
#define MAX_VETHS 16384
#define MAX_FLOWS 262144
#define MAX_EMBRYONIC 65537 /* one beyond a power of two: twice the buckets */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip4_key);
	__type(value, struct vip);
} vips4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip6_key);
	__type(value, struct vip);
} vips6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PORTS);
	__type(key, struct port4_key);
	__type(value, struct port);
} ports4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PORTS);
	__type(key, struct port6_key);
	__type(value, struct port);
} ports6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32); /* service id, from 1 */
	__type(value, struct service);
} services SEC(".maps");

/* index: service id */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct cursor);
} cursors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u32); /* backend id */
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32); /* backend id, from 1 */
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32); /* backend id */
	__type(value, struct drain);
} drains SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64); /* netns cookie */
	__type(value, struct netns);
} netnses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64); /* netns cookie */
	__type(value, struct resolver);
} resolvers SEC(".maps");

/* Until when the agent is sure to answer: an agent that hangs must not keep names from anybody. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* ns of CLOCK_MONOTONIC */
} resolving SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SERVICES + 4096);
	__type(key, struct name_key);
	__type(value, struct name);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct layout);
} layout SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct source_key);
	__type(value, __u32); /* enum source_rule */
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow4_key);
	__type(value, struct flow4);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow6_key);
	__type(value, struct flow6);
} flows6 SEC(".maps");

/*
 * Flows of one packet so far, or of repeated SYNs: apart, so that a flood of them evicts
 * none that are more. The next packet of the client moves a row to flows4 or flows6.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EMBRYONIC);
	__type(key, struct flow4_key);
	__type(value, struct flow4);
} embryonic4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EMBRYONIC);
	__type(key, struct flow6_key);
	__type(value, struct flow6);
} embryonic6 SEC(".maps");

/*
 * Flows of `return: snat`, found by replies; and by a client's packets, through the row
 * of `snat_clients` that leads to them. They are embryonic as others are.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct snat_key);
	__type(value, struct snat_flow);
} snats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EMBRYONIC);
	__type(key, struct snat_key);
	__type(value, struct snat_flow);
} embryonic_snats SEC(".maps");

/* Room for more than both, lest a flow that lives lose its way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2 * MAX_FLOWS);
	__type(key, struct overflow_key);
	__type(value, struct snat_key);
} snat_clients SEC(".maps");

/* Written by a first fragment, for those that follow it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

/* index: service id; 0 is for flows of none */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct timers);
} timers SEC(".maps");

/* index: enum flow_end * PATH_COUNT + enum hook_path */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, END_COUNT *PATH_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} ends SEC(".maps");

/* The same by backend. index: backend id * PATH_COUNT + enum hook_path */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS *PATH_COUNT);
	__type(key, __u32);
	__type(value, struct ended);
} backend_ends SEC(".maps");

/*
 * Flows that ended because their backend was gone, and so has no row of its own any more.
 * index: service id * PATH_COUNT + enum hook_path
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES *PATH_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} gone_ends SEC(".maps");

/* As `retired`: of backends that have left. The agent's alone. index: as `gone_ends` */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES *PATH_COUNT);
	__type(key, __u32);
	__type(value, struct ended);
} retired_ends SEC(".maps");

/* Those that have had a handshake timed; HANDSHAKE_LEFT is the agent's alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_BACKENDS *PATH_COUNT);
	__type(key, struct handshake_key);
	__type(value, struct handshakes);
} handshakes SEC(".maps");

#define OBSERVATIONS 16384 /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OBSERVATIONS);
	__type(key, __u32);
	__type(value, struct observation);
} observations SEC(".maps");

/* The last ticket. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tickets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watching);
} watchers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VETHS);
	__type(key, struct veth4_key);
	__type(value, struct veth);
} veths4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VETHS);
	__type(key, struct veth6_key);
	__type(value, struct veth);
} veths6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct veth_lease);
} veth_leases SEC(".maps");

/* How many events have been told in a window: of all CPUs together. */
struct watch_window {
	__u32 since; /* jiffies */
	__u32 told;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watch_window);
} watch_windows SEC(".maps");

/* index: enum watch_loss */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} unwatched SEC(".maps");

/* struct flow_event; max_entries is bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} flow_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct overflow_key);
	__type(value, struct overflow);
} overflows SEC(".maps");

#define PORTS_A_WORD 64

/*
 * Which ports clients of rows in `overflows` use, and which stand in for a hairpin's: a
 * bit each, so that a new flow of another port need not look there. Never cleared.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / PORTS_A_WORD);
	__type(key, __u32);
	__type(value, __u64);
} overflow_ports SEC(".maps");

/* index: backend id; 1: has reached `upper` and not yet fallen below `lower` */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, __u32);
} overloads SEC(".maps");

/*
 * Live flows by backend, of every path together: added when a flow is placed, taken
 * away when it ends. index: backend id
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, __u64);
} actives SEC(".maps");

/* Rows that only see off a flow that has ended, as the last sweep found. index: backend id */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, __u64);
} inactives SEC(".maps");

/* The part of the socket path (TCP), which a recount of flows would not find. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, __u64);
} sock_actives SEC(".maps");

/* index: backend id */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct via);
} vias SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct peer_key);
	__type(value, __u32); /* 1 */
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct alias_key);
	__type(value, struct alias);
} aliases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct entry_key);
	__type(value, struct entry);
} entries SEC(".maps");

/* index: backend id * PATH_COUNT + enum hook_path */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_BACKENDS *PATH_COUNT);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/*
 * What backends that have left had counted, so that a service's totals never
 * fall. Written by the agent alone. index: service id * PATH_COUNT + enum hook_path
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES *PATH_COUNT);
	__type(key, __u32);
	__type(value, struct counters);
} retired SEC(".maps");

/* index: enum drop_reason * PATH_COUNT + enum hook_path */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_COUNT *PATH_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

/* index: enum event * PATH_COUNT + enum hook_path */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_COUNT *PATH_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

/* The socket path alone. */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); /* a socket's descriptor, when read from user space */
	__type(value, struct sock_peer);
} sock_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct udp_to_key);
	__type(value, struct udp_to);
} udp_to SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct udp_from_key);
	__type(value, struct udp_from);
} udp_from SEC(".maps");

#endif
