#include "probe.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <linux/if_ether.h>
#include <memory>
#include <sys/utsname.h>
#include <unistd.h>

#include "error.h"
#include "fd.h"

// Younger than the headers of libbpf 1.1.
static constexpr uint32_t ATTACH_TCX_INGRESS = 46;
static constexpr int32_t FLAG_IPV6 = 1 << 7;

static struct bpf_insn instruction(uint8_t code, uint8_t dst, uint8_t src, int32_t imm)
{
	struct bpf_insn insn = {};
	insn.code = code;
	insn.dst_reg = dst & 0xf;
	insn.src_reg = src & 0xf;
	insn.imm = imm;
	return insn;
}

static struct bpf_insn set(uint8_t reg, int32_t value)
{
	return instruction(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, value);
}

static struct bpf_insn call(int32_t function)
{
	return instruction(BPF_JMP | BPF_CALL, 0, 0, function);
}

static struct bpf_insn leave()
{
	return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0);
}

static Fd load_classifier(const struct bpf_insn *insns, size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", insns, count, &opts));
}

// A kernel without tcx does not know the attach type; one with it misses the device.
static bool has_tcx()
{
	struct bpf_insn insns[] = {set(BPF_REG_0, 0), leave()};
	Fd program = load_classifier(insns, 2);
	if (!program.open())
		return false;
	Fd link(bpf_link_create(program.get(), 0,
				static_cast<enum bpf_attach_type>(ATTACH_TCX_INGRESS), nullptr));
	return !link.open() && errno == ENODEV;
}

// bpf_l4_csum_replace takes BPF_F_IPV6, or answers EINVAL for an unknown flag.
static bool has_csum_ipv6_flag()
{
	struct bpf_insn insns[] = {
		set(BPF_REG_2, ETH_HLEN + 40 + 16), // the checksum of a TCP header after IPv6's
		set(BPF_REG_3, 0),
		set(BPF_REG_4, 0),
		set(BPF_REG_5, static_cast<int32_t>(BPF_F_PSEUDO_HDR | FLAG_IPV6)),
		call(BPF_FUNC_l4_csum_replace),
		leave(),
	};
	Fd program = load_classifier(insns, sizeof(insns) / sizeof(insns[0]));
	if (!program.open())
		return false;
	uint8_t packet[ETH_HLEN + 40 + 20] = {};
	packet[12] = ETH_P_IPV6 >> 8;
	packet[13] = ETH_P_IPV6 & 0xff;
	packet[14] = 0x60;
	packet[20] = 6;
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	opts.data_in = packet;
	opts.data_size_in = sizeof(packet);
	opts.repeat = 1;
	return bpf_prog_test_run_opts(program.get(), &opts) == 0 && opts.retval == 0;
}

static bool has_batch()
{
	Fd map(bpf_map_create(BPF_MAP_TYPE_HASH, "probe", 4, 4, 4, nullptr));
	uint64_t next = 0;
	uint32_t keys[4], values[4];
	__u32 count = 4;
	if (!map.open())
		return false;
	return bpf_map_lookup_batch(map.get(), nullptr, &next, keys, values, &count, nullptr) ==
		       0 ||
	       errno == ENOENT;
}

static bool has_program(enum bpf_prog_type type)
{
	return libbpf_probe_bpf_prog_type(type, nullptr) == 1;
}

static bool has_map(enum bpf_map_type type)
{
	return libbpf_probe_bpf_map_type(type, nullptr) == 1;
}

static bool has_helper(enum bpf_prog_type type, enum bpf_func_id helper)
{
	return libbpf_probe_bpf_helper(type, helper, nullptr) == 1;
}

static void probe_types(Napi::Env env, Napi::Object result)
{
	// Those of the headers that libbpf also has a name for.
	Napi::Object programs = Napi::Object::New(env);
	for (int type = BPF_PROG_TYPE_SOCKET_FILTER; type <= BPF_PROG_TYPE_SYSCALL; type++) {
		// libbpf 1.1 knows these by messages that newer kernels have reworded.
		if (type == BPF_PROG_TYPE_TRACING || type == BPF_PROG_TYPE_EXT ||
		    type == BPF_PROG_TYPE_LSM)
			continue;
		auto wanted = static_cast<enum bpf_prog_type>(type);
		const char *name = libbpf_bpf_prog_type_str(wanted);
		if (name)
			programs.Set(name, Napi::Boolean::New(env, has_program(wanted)));
	}
	Napi::Object maps = Napi::Object::New(env);
	for (int type = BPF_MAP_TYPE_HASH; type <= BPF_MAP_TYPE_USER_RINGBUF; type++) {
		auto wanted = static_cast<enum bpf_map_type>(type);
		const char *name = libbpf_bpf_map_type_str(wanted);
		if (name)
			maps.Set(name, Napi::Boolean::New(env, has_map(wanted)));
	}
	result["programTypes"] = programs;
	result["mapTypes"] = maps;
}

static void probe_kernel_btf(Napi::Env env, Napi::Object result)
{
	std::unique_ptr<struct btf, decltype(&btf__free)> btf(btf__load_vmlinux_btf(), btf__free);
	auto has_function = [&](const char *name) {
		return Napi::Boolean::New(
			env, btf && btf__find_by_name_kind(btf.get(), name, BTF_KIND_FUNC) > 0);
	};
	result["btf"] = Napi::Boolean::New(env, btf != nullptr);
	result["sockDestroy"] = has_function("bpf_sock_destroy");
}

// probe(): booleans by feature. Without CAP_BPF most are false.
static Napi::Value probe(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Napi::Object result = Napi::Object::New(env);
	LogCapture discarded;
	struct utsname name;
	uname(&name);
	result["release"] = Napi::String::New(env, name.release);
	probe_types(env, result);
	probe_kernel_btf(env, result);
	auto put = [&](const char *feature, bool value) {
		result.Set(feature, Napi::Boolean::New(env, value));
	};
	put("tcx", has_tcx());
	put("csumIpv6Flag", has_csum_ipv6_flag());
	put("batch", has_batch());
	put("ringbuf", has_map(BPF_MAP_TYPE_RINGBUF));
	put("socketStorage", has_map(BPF_MAP_TYPE_SK_STORAGE));
	put("socketLookup", has_program(BPF_PROG_TYPE_SK_LOOKUP));
	put("setRetval", has_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval));
	put("netnsCookie", has_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_get_netns_cookie));
	put("jiffies64", has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_jiffies64));
	put("redirectPeer", has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_peer));
	put("redirectNeigh", has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh));
	put("timers", has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_timer_init));
	return result;
}

void init_probe(Napi::Env env, Napi::Object exports)
{
	exports.Set("probe", Napi::Function::New<guarded<probe>>(env, "probe"));
}
