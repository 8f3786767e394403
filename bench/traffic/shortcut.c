// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Puts the least programs in place and ends: they stay with the interfaces.
 * usage: shortcut OBJECT NETNS VIP BACKEND PORT NIC NIC-MAC CLIENT-MAC LINK LINK-MAC BACKEND-MAC
 */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdlib.h>
#include <string.h>

#include "shortcut.h"
#include "traffic.h"

enum word {
	OBJECT = 1,
	NETNS,
	VIP,
	BACKEND,
	PORT,
	NIC,
	NIC_MAC,
	CLIENT_MAC,
	LINK,
	LINK_MAC,
	BACKEND_MAC,
	WORDS,
};

static void mac_set(__u8 to[6], const char *text)
{
	struct ether_addr *mac = ether_aton(text);

	need(mac, text);
	memcpy(to, mac, 6);
}

static void attach(struct bpf_object *object, const char *name, int ifindex)
{
	struct bpf_tc_hook hook = {.sz = sizeof(hook), .attach_point = BPF_TC_INGRESS};
	struct bpf_tc_opts opts = {.sz = sizeof(opts), .handle = 1, .priority = 1};
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	need(program, name);
	hook.ifindex = ifindex;
	opts.prog_fd = bpf_program__fd(program);
	bpf_tc_hook_create(&hook);
	need(!bpf_tc_attach(&hook, &opts), name);
}

int main(int count, char **words)
{
	struct shortcut_settings settings = {};
	struct bpf_object *object;
	struct bpf_map *map;

	if (count != WORDS)
		die("usage: shortcut OBJECT NETNS VIP BACKEND PORT NIC NIC-MAC CLIENT-MAC LINK "
		    "LINK-MAC BACKEND-MAC");
	enter(words[NETNS]);
	need(inet_pton(AF_INET, words[VIP], &settings.vip) == 1, "VIP");
	need(inet_pton(AF_INET, words[BACKEND], &settings.backend) == 1, "BACKEND");
	settings.port = htons(atoi(words[PORT]));
	settings.client_ifindex = if_nametoindex(words[NIC]);
	settings.backend_ifindex = if_nametoindex(words[LINK]);
	mac_set(settings.to_backend, words[BACKEND_MAC]);
	mac_set(settings.to_backend + 6, words[LINK_MAC]);
	mac_set(settings.to_client, words[CLIENT_MAC]);
	mac_set(settings.to_client + 6, words[NIC_MAC]);
	object = bpf_object__open_file(words[OBJECT], NULL);
	need(object, words[OBJECT]);
	map = bpf_object__find_map_by_name(object, ".rodata");
	need(map && !bpf_map__set_initial_value(map, &settings, sizeof(settings)), ".rodata");
	need(!bpf_object__load(object), "load");
	attach(object, "to_backend", settings.client_ifindex);
	attach(object, "to_client", settings.backend_ifindex);
	return 0;
}
