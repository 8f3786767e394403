// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What sockets do: datagrams, questions and answers, connections, a stream. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "traffic.h"

#define MESSAGE_BYTES 64
#define CHUNK_BYTES (64 << 10)
#define BACKLOG 4096
/* Longer than a segment that is sent again; what takes longer has failed. */
#define PATIENCE_SECONDS 5

static int bound(const struct options *options, int type)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->listen)};
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	int fd, on = 1;

	enter(options->backend);
	fd = socket(AF_INET, type, 0);
	need(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	need(!bind(fd, (void *)&address, sizeof(address)), "bind");
	if (type == SOCK_STREAM)
		need(!listen(fd, BACKLOG), "listen");
	enter(options->client);
	return fd;
}

int connected(const struct options *options, int type)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	int fd = socket(AF_INET, type, 0);

	need(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	need(inet_pton(AF_INET, options->dial, &address.sin_addr) == 1, "dial");
	need(!connect(fd, (void *)&address, sizeof(address)), "connect");
	return fd;
}

static int accepted(int listener)
{
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	int fd = accept(listener, NULL, NULL);

	need(fd >= 0, "accept");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

void hurry(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void put(int fd)
{
	char message[MESSAGE_BYTES] = {};

	need(send(fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message), "send");
}

static void get(int fd)
{
	char message[MESSAGE_BYTES];

	need(recv(fd, message, sizeof(message), MSG_WAITALL) == sizeof(message), "recv");
}

void print_cost(uint64_t units, uint64_t cost)
{
	printf("{\"units\":%llu,\"cost\":%llu}\n", (unsigned long long)units,
	       (unsigned long long)cost);
}

/* Datagrams one at a time: nothing is lost, and every one is received. */
void run_udp(const struct options *options)
{
	int server = bound(options, SOCK_DGRAM), client = connected(options, SOCK_DGRAM);
	uint64_t i, begun = 0;

	for (i = 0; i < options->warm + options->count; i++) {
		if (i == options->warm)
			begun = now(options);
		put(client);
		get(server);
	}
	print_cost(options->count, now(options) - begun);
}

static int ascending(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return (one > other) - (one < other);
}

static uint64_t at(const uint64_t *sorted, uint64_t count, double share)
{
	return sorted[(uint64_t)((count - 1) * share)];
}

/* print_times() - sorts them. */
void print_times(const struct options *options, uint64_t *times, uint64_t cost)
{
	qsort(times, options->count, sizeof(*times), ascending);
	printf("{\"units\":%llu,\"cost\":%llu,\"p50\":%llu,\"p99\":%llu,\"p999\":%llu}\n",
	       (unsigned long long)options->count, (unsigned long long)cost,
	       (unsigned long long)at(times, options->count, 0.5),
	       (unsigned long long)at(times, options->count, 0.99),
	       (unsigned long long)at(times, options->count, 0.999));
}

/* One connection, a question and an answer at a time. */
void run_pingpong(const struct options *options)
{
	int listener = bound(options, SOCK_STREAM), client = connected(options, SOCK_STREAM);
	int server = accepted(listener);
	uint64_t *times = calloc(options->count, sizeof(*times));
	uint64_t i, begun = 0, last = 0, then;

	need(times, "calloc");
	hurry(client);
	hurry(server);
	for (i = 0; i < options->warm + options->count; i++) {
		if (i == options->warm)
			begun = last = now(options);
		put(client);
		get(server);
		put(server);
		get(client);
		if (options->ticks || i < options->warm)
			continue;
		then = now(options);
		times[i - options->warm] = then - last;
		last = then;
	}
	then = now(options) - begun;
	if (options->ticks) {
		print_cost(options->count, then);
		return;
	}
	print_times(options, times, then);
}

static void one_connection(const struct options *options, int listener)
{
	char byte;
	int client = connected(options, SOCK_STREAM), server = accepted(listener);

	put(client);
	get(server);
	put(server);
	get(client);
	close(server);
	need(recv(client, &byte, 1, 0) == 0, "the end of a connection");
	close(client);
}

/* Connections one after the other: opened, a question, an answer, closed by the server. */
void run_connect(const struct options *options)
{
	int listener = bound(options, SOCK_STREAM);
	uint64_t i, begun = 0;

	for (i = 0; i < options->warm + options->count; i++) {
		if (i == options->warm)
			begun = now(options);
		one_connection(options, listener);
	}
	print_cost(options->count, now(options) - begun);
}

/* Sends for a while into a process that reads; the cost is of so many bytes received. */
void run_stream(const struct options *options)
{
	static char chunk[CHUNK_BYTES];
	int listener = bound(options, SOCK_STREAM), client = connected(options, SOCK_STREAM);
	int server = accepted(listener);
	uint64_t begun = now(options), bytes = 0;
	ssize_t length;
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child) {
		close(server);
		while (now(options) - begun < options->milliseconds * 1000000)
			need(send(client, chunk, sizeof(chunk), MSG_NOSIGNAL) > 0, "send");
		_exit(0);
	}
	close(client);
	while ((length = recv(server, chunk, sizeof(chunk), 0)) > 0)
		bytes += length;
	need(length == 0, "recv");
	print_cost(bytes, now(options) - begun);
	waitpid(child, NULL, 0);
}

/* Twenty instructions a unit: what counts can be checked by. */
void run_loop(const struct options *options)
{
	uint64_t begun = now(options), i = options->count;

	asm volatile("1: .rept 18\n nop\n .endr\n dec %0\n jnz 1b" : "+r"(i) : : "cc");
	print_cost(options->count, now(options) - begun);
}
