/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Traffic between two network namespaces from one process: both ends are here, so nothing but the
 * way between them and the sockets' own work is in a figure.
 */
#ifndef FAIRLEAD_BENCH_TRAFFIC_H
#define FAIRLEAD_BENCH_TRAFFIC_H

#include <stdint.h>
#include <stdbool.h>

struct options {
	const char *client;  /* path of a network namespace */
	const char *backend; /* the same, where `listen` is */
	const char *dial;    /* an address */
	const char *from;    /* the first source address of generated frames */
	const char *out;     /* the client's interface */
	const char *mac;     /* where generated frames go */
	const char *sink;    /* socket, xdp or tc */
	const char *object;  /* file of the generator */
	uint16_t port;
	uint16_t listen;
	uint32_t flows; /* 0: a new one for each frame */
	uint32_t first; /* of the flows */
	uint64_t warm;
	uint64_t count;
	uint64_t milliseconds; /* of a stream */
	bool ticks;	       /* count in ticks of the TSC instead of nanoseconds */
};

/* Dies with a message. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *what, ...);
/* Dies with a message and errno's unless `ok`. */
void need(bool ok, const char *what);

void options_read(struct options *options, int count, char **words);
void enter(const char *netns);
/* Ticks or nanoseconds, as the options say. */
uint64_t now(const struct options *options);

void run_frames(const struct options *options);
void run_udp(const struct options *options);
void run_pingpong(const struct options *options);
void run_connect(const struct options *options);
void run_stream(const struct options *options);
void run_loop(const struct options *options);
void run_send(const struct options *options);
void run_serve(const struct options *options);
void run_dial_connect(const struct options *options);
void run_dial_pingpong(const struct options *options);
void run_dial_stream(const struct options *options);

/* Of either half: a socket that has dialled, of this process' namespace. */
int connected(const struct options *options, int type);
void hurry(int fd);
void print_cost(uint64_t units, uint64_t cost);
/* Sorts `options->count` times. */
void print_times(const struct options *options, uint64_t *times, uint64_t cost);

struct frame_taker;
/* In the namespace that the process is in, at a socket. */
struct frame_taker *frames_take(const struct options *options);
uint64_t frames_taken(struct frame_taker *taker);

#endif
