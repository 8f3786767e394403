// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The halves of a measurement between two machines: one serves until its input ends, the other
 * dials. What a connection is for, its first byte tells.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "traffic.h"

#define MESSAGE_BYTES 64
#define CHUNK_BYTES (64 << 10)
#define BACKLOG 4096
#define SECOND_MILLISECONDS 1000

enum purpose { ONE_ANSWER = 'c', ANSWERS = 'p', SINK = 's' };

/* Answers messages: one, or until there are no more. */
static void answer(int fd, char *message, bool once)
{
	do {
		if (send(fd, message, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES)
			return;
	} while (!once && recv(fd, message, MESSAGE_BYTES, MSG_WAITALL) == MESSAGE_BYTES);
}

static void serve_one(int fd)
{
	static char chunk[CHUNK_BYTES];
	char message[MESSAGE_BYTES];
	uint64_t bytes = 0;
	ssize_t length;

	hurry(fd);
	if (recv(fd, message, sizeof(message), MSG_WAITALL) != sizeof(message))
		return;
	if (message[0] != SINK) {
		answer(fd, message, message[0] == ONE_ANSWER);
		return;
	}
	while ((length = recv(fd, chunk, sizeof(chunk), 0)) > 0)
		bytes += length;
	send(fd, &bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void serve_connections(int listener)
{
	int fd;

	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		serve_one(fd);
		close(fd);
	}
}

/* Serves connections one at a time, and tells each second how many frames have been taken. */
void run_serve(const struct options *options)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->listen)};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct frame_taker *taker;
	int listener, on = 1;
	pid_t child;

	enter(options->backend);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	need(listener >= 0, "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	need(!bind(listener, (void *)&address, sizeof(address)), "bind");
	need(!listen(listener, BACKLOG), "listen");
	child = fork();
	need(child >= 0, "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_connections(listener);
	}
	taker = frames_take(options);
	do {
		printf("{\"taken\":%llu}\n", (unsigned long long)frames_taken(taker));
		fflush(stdout);
	} while (!poll(&input, 1, SECOND_MILLISECONDS));
	kill(child, SIGKILL);
}

static int dialled(const struct options *options, char purpose)
{
	char message[MESSAGE_BYTES] = {purpose};
	int fd = connected(options, SOCK_STREAM);

	hurry(fd);
	need(send(fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message), "send");
	return fd;
}

static void hear(int fd)
{
	char message[MESSAGE_BYTES];

	need(recv(fd, message, sizeof(message), MSG_WAITALL) == sizeof(message), "recv");
}

void run_dial_connect(const struct options *options)
{
	uint64_t i, begun = 0;
	char byte;
	int fd;

	enter(options->client);
	for (i = 0; i < options->warm + options->count; i++) {
		if (i == options->warm)
			begun = now(options);
		fd = dialled(options, ONE_ANSWER);
		hear(fd);
		need(recv(fd, &byte, 1, 0) == 0, "the end of a connection");
		close(fd);
	}
	print_cost(options->count, now(options) - begun);
}

void run_dial_pingpong(const struct options *options)
{
	char message[MESSAGE_BYTES] = {ANSWERS};
	uint64_t i, begun = 0, last = 0, then;
	uint64_t *times = calloc(options->count, sizeof(*times));
	int fd;

	need(times, "calloc");
	enter(options->client);
	fd = dialled(options, ANSWERS);
	hear(fd);
	for (i = 0; i < options->warm + options->count; i++) {
		if (i == options->warm)
			begun = last = now(options);
		need(send(fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message), "send");
		hear(fd);
		if (i < options->warm)
			continue;
		then = now(options);
		times[i - options->warm] = then - last;
		last = then;
	}
	print_times(options, times, now(options) - begun);
}

void run_dial_stream(const struct options *options)
{
	static char chunk[CHUNK_BYTES];
	uint64_t begun, bytes = 0;
	int fd;

	enter(options->client);
	fd = dialled(options, SINK);
	begun = now(options);
	while (now(options) - begun < options->milliseconds * 1000000)
		need(send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL) > 0, "send");
	shutdown(fd, SHUT_WR);
	need(recv(fd, &bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes), "recv");
	print_cost(bytes, now(options) - begun);
}
