// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Drives the generator, and puts the far end's program where the frames are taken. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"
#include "traffic.h"

#define FAR_END "eth0"
#define FRAME_BYTES 64

static void own_mac(const char *name, __u8 mac[6])
{
	struct ifreq request = {};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	need(fd >= 0, "socket");
	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	need(!ioctl(fd, SIOCGIFHWADDR, &request), name);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static void settings_fill(struct frame_settings *settings, const struct options *options)
{
	struct ether_addr *mac = ether_aton(options->mac);

	need(mac, "mac");
	memcpy(settings->to_mac, mac, 6);
	own_mac(options->out, settings->from_mac);
	need(inet_pton(AF_INET, options->from, &settings->from) == 1, "from");
	need(inet_pton(AF_INET, options->dial, &settings->to) == 1, "dial");
	settings->port = htons(options->port);
	settings->ifindex = if_nametoindex(options->out);
	need(settings->ifindex, options->out);
	settings->flow_mask = options->flows - 1;
	settings->first_flow = options->first;
	settings->warm = options->warm / BATCH_FRAMES * BATCH_FRAMES;
	settings->count = options->count / BATCH_FRAMES * BATCH_FRAMES;
	if (options->flows & (options->flows - 1))
		die("flows is no power of two");
}

static int program_fd(struct bpf_object *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	need(program, name);
	return bpf_program__fd(program);
}

static void take_at_socket(struct bpf_object *object, const struct options *options)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->listen)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), program = program_fd(object, "take_datagram");

	need(fd >= 0, "socket");
	need(!bind(fd, (void *)&address, sizeof(address)), "bind");
	need(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)),
	     "SO_ATTACH_BPF");
}

/* Whatever takes the frames is in the backend's namespace, which this process is in. */
static void take(struct bpf_object *object, const struct options *options)
{
	struct bpf_tc_hook hook = {.sz = sizeof(hook), .attach_point = BPF_TC_INGRESS};
	struct bpf_tc_opts opts = {.sz = sizeof(opts), .handle = 1, .priority = 1};
	int ifindex = if_nametoindex(FAR_END);

	if (!strcmp(options->sink, "socket")) {
		take_at_socket(object, options);
	} else if (!strcmp(options->sink, "xdp")) {
		need(!bpf_xdp_attach(ifindex, program_fd(object, "take_frame"), XDP_FLAGS_DRV_MODE,
				     NULL),
		     "take_frame");
	} else {
		hook.ifindex = ifindex;
		opts.prog_fd = program_fd(object, "take_buffer");
		bpf_tc_hook_create(&hook);
		need(!bpf_tc_attach(&hook, &opts), "take_buffer");
	}
}

static void leave(const struct options *options)
{
	struct bpf_tc_hook hook = {.sz = sizeof(hook),
				   .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS};

	enter(options->backend);
	hook.ifindex = if_nametoindex(FAR_END);
	if (!strcmp(options->sink, "xdp"))
		bpf_xdp_detach(hook.ifindex, XDP_FLAGS_DRV_MODE, NULL);
	if (!strcmp(options->sink, "tc"))
		bpf_tc_hook_destroy(&hook);
}

static uint64_t monotonic(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* What the clock that the program reads makes of what `now` counts. */
static void generate(struct bpf_object *object, const struct options *options, __u64 frames,
		     double *scale)
{
	__u8 frame[FRAME_BYTES] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = frames, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = BATCH_FRAMES);
	uint64_t ns = monotonic(), count = now(options);
	int error = bpf_prog_test_run_opts(program_fd(object, "generate"), &run);

	need(!error, "BPF_PROG_TEST_RUN");
	count = now(options) - count;
	*scale = (double)count / (monotonic() - ns);
}

static void tally_read(struct bpf_object *object, struct frame_tally *tally)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	__u32 zero = 0;

	need(map && !bpf_map_lookup_elem(bpf_map__fd(map), &zero, tally), ".bss");
}

/* In the client's namespace afterwards. */
static struct bpf_object *generator_load(const struct options *options)
{
	struct bpf_object *object = bpf_object__open_file(options->object, NULL);
	struct frame_settings settings = {};
	struct bpf_map *map;

	need(object, "the generator");
	enter(options->client);
	settings_fill(&settings, options);
	map = bpf_object__find_map_by_name(object, ".rodata");
	need(map && !bpf_map__set_initial_value(map, &settings, sizeof(settings)), ".rodata");
	need(!bpf_object__load(object), "load");
	return object;
}

static __u64 frames_of(const struct options *options)
{
	return options->warm / BATCH_FRAMES * BATCH_FRAMES +
	       options->count / BATCH_FRAMES * BATCH_FRAMES + BATCH_FRAMES;
}

static void tally_print(const struct options *options, const struct frame_tally *tally,
			double scale)
{
	printf("{\"units\":%llu,\"cost\":%.0f,\"sent\":%llu,\"taken\":%llu}\n",
	       (unsigned long long)(options->count / BATCH_FRAMES * BATCH_FRAMES),
	       (tally->ended_ns - tally->begun_ns) * scale, tally->sent, tally->taken);
}

void run_frames(const struct options *options)
{
	struct bpf_object *object = generator_load(options);
	struct frame_tally tally;
	double scale;

	enter(options->backend);
	take(object, options);
	enter(options->client);
	generate(object, options, frames_of(options), &scale);
	/* What another task was left to carry gets its turn. */
	usleep(1000);
	tally_read(object, &tally);
	leave(options);
	tally_print(options, &tally, scale);
	bpf_object__close(object);
}

/* Frames that are taken on another machine, if at all. */
void run_send(const struct options *options)
{
	struct bpf_object *object = generator_load(options);
	struct frame_tally tally;
	double scale;

	generate(object, options, frames_of(options), &scale);
	tally_read(object, &tally);
	tally_print(options, &tally, scale);
	bpf_object__close(object);
}

struct frame_taker {
	struct bpf_object *object;
};

struct frame_taker *frames_take(const struct options *options)
{
	struct frame_taker *taker = calloc(1, sizeof(*taker));

	need(taker, "calloc");
	taker->object = bpf_object__open_file(options->object, NULL);
	need(taker->object, "the generator");
	need(!bpf_object__load(taker->object), "load");
	take_at_socket(taker->object, options);
	return taker;
}

uint64_t frames_taken(struct frame_taker *taker)
{
	struct frame_tally tally;

	tally_read(taker->object, &tally);
	return tally.taken;
}
