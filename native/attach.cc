#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <fcntl.h>
#include <linux/if_link.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "async.h"
#include "error.h"
#include "fd.h"
#include "netns.h"

// Younger than the headers of libbpf 1.1.
static constexpr uint32_t ATTACH_TCX_INGRESS = 46;
static constexpr uint32_t ATTACH_TCX_EGRESS = 47;

struct Attached {
	Fd fd;
	std::string mode;     // "native" or "generic"; of XDP only
	int native_error = 0; // why "auto" did not become native
};

static Napi::Value deliver(Napi::Env env, Attached &attached)
{
	Napi::Object result = Napi::Object::New(env);
	result["mode"] = Napi::String::New(env, attached.mode);
	result["nativeError"] = Napi::Number::New(env, attached.native_error);
	result["fd"] = Napi::Number::New(env, attached.fd.release());
	return result;
}

static Fd create_link(int program, int target, uint32_t type, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	opts.flags = flags;
	return Fd(bpf_link_create(program, target, static_cast<enum bpf_attach_type>(type), &opts));
}

static Attached attach_xdp_here(int program, const std::string &interface, const std::string &mode)
{
	int ifindex = static_cast<int>(interface_index(interface));
	Attached attached;
	if (mode != "generic") {
		attached.fd = create_link(program, ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE);
		attached.mode = "native";
		if (attached.fd.open())
			return attached;
		attached.native_error = errno;
		bool final = errno == EBUSY || errno == EEXIST || errno == EPERM || errno == ENODEV;
		if (mode == "native" || final)
			throw Failure("attachXdp", interface, attached.native_error);
	}
	attached.fd = create_link(program, ifindex, BPF_XDP, XDP_FLAGS_SKB_MODE);
	attached.mode = "generic";
	if (!attached.fd.open())
		throw Failure("attachXdp", interface, errno);
	return attached;
}

// attachXdp(programFd, interface, netns?, mode)
static Napi::Value attach_xdp(const Napi::CallbackInfo &info)
{
	auto program = Fd::share(read_fd(info[0], "program"), "attachXdp", "program");
	std::string interface = read_string(info[1], "interface");
	auto netns = read_optional_string(info[2], "netns");
	std::string mode = read_string(info[3], "mode");
	return Task<Attached>::start(
		info.Env(),
		[=] {
			NetnsStay stay(netns);
			return attach_xdp_here(program->get(), interface, mode);
		},
		deliver);
}

// attachTcx(programFd, interface, netns?, egress, flags): rejects with EINVAL where the kernel has
// no tcx.
static Napi::Value attach_tcx(const Napi::CallbackInfo &info)
{
	auto program = Fd::share(read_fd(info[0], "program"), "attachTcx", "program");
	std::string interface = read_string(info[1], "interface");
	auto netns = read_optional_string(info[2], "netns");
	uint32_t type = read_bool(info[3], "egress") ? ATTACH_TCX_EGRESS : ATTACH_TCX_INGRESS;
	uint32_t flags = read_u32(info[4], "flags");
	return Task<Attached>::start(
		info.Env(),
		[=] {
			NetnsStay stay(netns);
			int ifindex = static_cast<int>(interface_index(interface));
			Attached attached;
			attached.fd = create_link(program->get(), ifindex, type, flags);
			if (!attached.fd.open())
				throw Failure("attachTcx", interface, errno);
			return attached;
		},
		deliver);
}

// attachPath(programFd, path, type): to a cgroup's directory or a namespace's file.
static Napi::Value attach_path(const Napi::CallbackInfo &info)
{
	auto program = Fd::share(read_fd(info[0], "program"), "attach", "program");
	std::string path = read_string(info[1], "path");
	uint32_t type = read_u32(info[2], "type", 1024);
	return Task<Attached>::start(
		info.Env(),
		[=] {
			Fd target(open(path.c_str(), O_RDONLY | O_CLOEXEC));
			if (!target.open())
				throw Failure("attach", path, errno);
			Attached attached;
			attached.fd = create_link(program->get(), target.get(), type, 0);
			if (!attached.fd.open())
				throw Failure("attach", path, errno);
			return attached;
		},
		deliver);
}

// attachTracing(programFd, type): to what the program itself names (an iterator, fentry, ...).
static Napi::Value attach_tracing(const Napi::CallbackInfo &info)
{
	auto program = Fd::share(read_fd(info[0], "program"), "attach", "program");
	uint32_t type = read_u32(info[1], "type", 1024);
	return Task<Attached>::start(
		info.Env(),
		[=] {
			Attached attached;
			attached.fd = create_link(program->get(), 0, type, 0);
			if (!attached.fd.open())
				throw Failure("attach", "program", errno);
			return attached;
		},
		deliver);
}

// ---- clsact filters: not links, so they outlive this process ---------------

struct Filter {
	uint32_t ifindex = 0;
	uint32_t handle = 0;
	uint32_t priority = 0;
	uint32_t program_id = 0;
	ino_t netns = 0; // tells whether the path still means the same namespace
};

static struct bpf_tc_hook tc_hook(uint32_t ifindex, bool egress)
{
	struct bpf_tc_hook hook = {};
	hook.sz = sizeof(hook);
	hook.ifindex = static_cast<int>(ifindex);
	hook.attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
	return hook;
}

static ino_t own_netns()
{
	struct stat status;
	if (stat("/proc/thread-self/ns/net", &status))
		throw Failure("setns", "own", errno);
	return status.st_ino;
}

// program < 0 asks for what is there. Handle and priority 0: the kernel chooses.
static Filter filter_here(int program, const std::string &interface, bool egress, Filter filter)
{
	LogCapture log;
	filter.netns = own_netns();
	filter.ifindex = interface_index(interface);
	struct bpf_tc_hook hook = tc_hook(filter.ifindex, egress);
	LIBBPF_OPTS(bpf_tc_opts, opts);
	opts.handle = filter.handle;
	opts.priority = filter.priority;
	int error;
	if (program < 0) {
		// A missing qdisc, or a missing chain of it, is EINVAL.
		error = bpf_tc_query(&hook, &opts);
		error = error == -EINVAL ? -ENOENT : error;
	} else {
		error = bpf_tc_hook_create(&hook);
		if (error && error != -EEXIST)
			throw Failure("attachClsact", interface, -error, log.text());
		opts.prog_fd = program;
		opts.flags = filter.handle && filter.priority ? BPF_TC_F_REPLACE : 0;
		error = bpf_tc_attach(&hook, &opts);
	}
	if (error)
		throw Failure(program < 0 ? "info" : "attachClsact", interface, -error, log.text());
	filter.handle = opts.handle;
	filter.priority = opts.priority;
	filter.program_id = opts.prog_id;
	return filter;
}

static Napi::Value deliver_filter(Napi::Env env, Filter &filter)
{
	Napi::Object result = Napi::Object::New(env);
	result["ifindex"] = Napi::Number::New(env, filter.ifindex);
	result["handle"] = Napi::Number::New(env, filter.handle);
	result["priority"] = Napi::Number::New(env, filter.priority);
	result["programId"] = Napi::Number::New(env, filter.program_id);
	result["netnsInode"] = Napi::Number::New(env, static_cast<double>(filter.netns));
	return result;
}

// attachClsact(programFd, interface, netns?, egress, handle, priority): makes the qdisc when there
// is none; with handle and priority it replaces the filter that has them.
static Napi::Value attach_clsact(const Napi::CallbackInfo &info)
{
	auto program = Fd::share(read_fd(info[0], "program"), "attachClsact", "program");
	std::string interface = read_string(info[1], "interface");
	auto netns = read_optional_string(info[2], "netns");
	bool egress = read_bool(info[3], "egress");
	Filter filter;
	filter.handle = read_u32(info[4], "handle");
	filter.priority = read_u32(info[5], "priority", 0xffff);
	return Task<Filter>::start(
		info.Env(),
		[=] {
			NetnsStay stay(netns);
			return filter_here(program->get(), interface, egress, filter);
		},
		deliver_filter);
}

// queryClsact(interface, netns?, egress, handle, priority): rejects with ENOENT when it is gone.
static Napi::Value query_clsact(const Napi::CallbackInfo &info)
{
	std::string interface = read_string(info[0], "interface");
	auto netns = read_optional_string(info[1], "netns");
	bool egress = read_bool(info[2], "egress");
	Filter filter;
	filter.handle = read_u32(info[3], "handle");
	filter.priority = read_u32(info[4], "priority", 0xffff);
	return Task<Filter>::start(
		info.Env(),
		[=] {
			NetnsStay stay(netns);
			return filter_here(-1, interface, egress, filter);
		},
		deliver_filter);
}

static void detach_filter(const Filter &filter, const std::optional<std::string> &netns,
			  bool egress)
{
	LogCapture log;
	if (netns && access(netns->c_str(), F_OK) && errno == ENOENT)
		return; // the namespace is gone, and its devices with it
	NetnsStay stay(netns);
	if (own_netns() != filter.netns)
		return; // the name was given to another namespace
	struct bpf_tc_hook hook = tc_hook(filter.ifindex, egress);
	LIBBPF_OPTS(bpf_tc_opts, opts);
	opts.handle = filter.handle;
	opts.priority = filter.priority;
	int error = bpf_tc_detach(&hook, &opts);
	if (error && error != -ENOENT && error != -ENODEV && error != -EINVAL)
		throw Failure("detach", "filter", -error, log.text());
}

// detachClsact(ifindex, netns?, egress, handle, priority, netnsInode): a filter that is gone
// already is no error.
static Napi::Value detach_clsact(const Napi::CallbackInfo &info)
{
	Filter filter;
	filter.ifindex = read_u32(info[0], "ifindex", INT32_MAX);
	auto netns = read_optional_string(info[1], "netns");
	bool egress = read_bool(info[2], "egress");
	filter.handle = read_u32(info[3], "handle");
	filter.priority = read_u32(info[4], "priority", 0xffff);
	filter.netns = read_u32(info[5], "netnsInode");
	return settle(info.Env(), [=] { detach_filter(filter, netns, egress); });
}

void init_attach(Napi::Env env, Napi::Object exports)
{
	auto add = [&](const char *name, auto function) { exports.Set(name, function); };
	add("attachXdp", Napi::Function::New<guarded<attach_xdp>>(env, "attachXdp"));
	add("attachTcx", Napi::Function::New<guarded<attach_tcx>>(env, "attachTcx"));
	add("attachPath", Napi::Function::New<guarded<attach_path>>(env, "attachPath"));
	add("attachTracing", Napi::Function::New<guarded<attach_tracing>>(env, "attachTracing"));
	add("attachClsact", Napi::Function::New<guarded<attach_clsact>>(env, "attachClsact"));
	add("queryClsact", Napi::Function::New<guarded<query_clsact>>(env, "queryClsact"));
	add("detachClsact", Napi::Function::New<guarded<detach_clsact>>(env, "detachClsact"));
}
