// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Words of the command line (KEY=VALUE), clocks, and ways to die. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "traffic.h"

void die(const char *what, ...)
{
	va_list arguments;

	va_start(arguments, what);
	fputs("traffic: ", stderr);
	vfprintf(stderr, what, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

void need(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (!*text || *end)
		die("%s is no number", text);
	return value;
}

static void option_set(struct options *options, const char *key, const char *value)
{
	const struct {
		const char *key;
		const char **to;
	} texts[] = {
		{"client", &options->client}, {"backend", &options->backend},
		{"dial", &options->dial},     {"from", &options->from},
		{"out", &options->out},	      {"mac", &options->mac},
		{"sink", &options->sink},     {"object", &options->object},
	};
	unsigned int i;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!strcmp(key, texts[i].key)) {
			*texts[i].to = value;
			return;
		}
	if (!strcmp(key, "port"))
		options->port = number(value);
	else if (!strcmp(key, "listen"))
		options->listen = number(value);
	else if (!strcmp(key, "flows"))
		options->flows = number(value);
	else if (!strcmp(key, "first"))
		options->first = number(value);
	else if (!strcmp(key, "warm"))
		options->warm = number(value);
	else if (!strcmp(key, "count"))
		options->count = number(value);
	else if (!strcmp(key, "milliseconds"))
		options->milliseconds = number(value);
	else if (!strcmp(key, "ticks"))
		options->ticks = number(value);
	else
		die("unknown option %s", key);
}

void options_read(struct options *options, int count, char **words)
{
	char *value;
	int i;

	for (i = 0; i < count; i++) {
		value = strchr(words[i], '=');
		if (!value)
			die("%s has no value", words[i]);
		*value++ = '\0';
		option_set(options, words[i], value);
	}
	if (!options->count)
		die("count is missing");
}

void enter(const char *netns)
{
	int fd;

	if (!netns)
		die("a namespace is missing");
	fd = open(netns, O_RDONLY | O_CLOEXEC);
	need(fd >= 0, netns);
	need(!setns(fd, CLONE_NEWNET), "setns");
	close(fd);
}

uint64_t now(const struct options *options)
{
	struct timespec time;

	if (options->ticks)
		return __rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}
