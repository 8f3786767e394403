// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One measurement, printed as a line of JSON: `units` and what they cost together, in nanoseconds
 * or ticks.
 * usage: traffic frames|udp|pingpong|connect|stream|loop KEY=VALUE...   (struct options has the
 * keys); of two machines, serve on one, and send, dial-connect, dial-pingpong or dial-stream on
 * the other
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "traffic.h"

#define SETTLE_MICROSECONDS 300000

static const struct {
	const char *name;
	void (*run)(const struct options *options);
} cases[] = {
	{"frames", run_frames},
	{"udp", run_udp},
	{"pingpong", run_pingpong},
	{"connect", run_connect},
	{"stream", run_stream},
	{"loop", run_loop},
	{"send", run_send},
	{"serve", run_serve},
	{"dial-connect", run_dial_connect},
	{"dial-pingpong", run_dial_pingpong},
	{"dial-stream", run_dial_stream},
};

/*
 * Where time is a count of instructions, those of others count as well: whoever started this gets
 * ready to wait, and what the kernel leaves to a thread of its own comes before the next unit.
 */
static void be_alone(void)
{
	usleep(SETTLE_MICROSECONDS);
	setpriority(PRIO_PROCESS, 0, 19);
}

int main(int count, char **words)
{
	struct options options = {.sink = "socket"};
	struct rlimit files = {65536, 65536};
	unsigned int i;

	setrlimit(RLIMIT_NOFILE, &files);
	for (i = 0; count > 2 && i < sizeof(cases) / sizeof(*cases); i++)
		if (!strcmp(words[1], cases[i].name)) {
			options_read(&options, count - 2, words + 2);
			if (options.ticks)
				be_alone();
			cases[i].run(&options);
			return 0;
		}
	die("usage: traffic CASE KEY=VALUE...");
}
