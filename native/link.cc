#include "link.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <optional>
#include <unistd.h>
#include <vector>

#include "args.h"
#include "async.h"
#include "netns.h"

// Younger than the headers of libbpf 1.1.
static constexpr uint32_t LINK_TYPE_TCX = 11;

void Link::init(Napi::Env env, Napi::Object exports)
{
	exports.Set("Link", DefineClass(env, "Link",
					{
						method<&Link::details>("details"),
						method<&Link::update>("update"),
						method<&Link::detach>("detach"),
						method<&Link::read>("read"),
						method<&Link::pin_at>("pin"),
						method<&Link::unpin_at>("unpin"),
						method<&Link::close>("close"),
					}));
}

// new Link(source): a pin's path, or a descriptor, which it takes over.
Link::Link(const Napi::CallbackInfo &info) : Wrap(info)
{
	try {
		if (info[0].IsString()) {
			fd_ = open_pin(read_string(info[0], "path"), "link");
		} else {
			int fd = read_fd(info[0], "fd");
			bpf_id(fd, "link", "open", "link");
			fd_ = Fd(fd);
		}
	} catch (const Failure &failure) {
		throw to_js(info.Env(), failure);
	}
}

int Link::fd(const char *operation) const
{
	if (!fd_.open())
		throw Failure(operation, "link", EBADF, "the link is closed");
	return fd_.get();
}

// details(): what the kernel says of the link, now. ifindex is 0 once the device is gone.
Napi::Value Link::details(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	struct bpf_link_info details = {};
	__u32 size = sizeof(details);
	if (bpf_obj_get_info_by_fd(fd("info"), &details, &size))
		throw Failure("info", "link", errno);
	Napi::Object item = Napi::Object::New(env);
	item["fd"] = Napi::Number::New(env, fd_.get());
	item["id"] = Napi::Number::New(env, details.id);
	item["type"] = Napi::Number::New(env, details.type);
	item["programId"] = Napi::Number::New(env, details.prog_id);
	switch (static_cast<uint32_t>(details.type)) {
	case BPF_LINK_TYPE_XDP:
		item["ifindex"] = Napi::Number::New(env, details.xdp.ifindex);
		break;
	case LINK_TYPE_TCX: {
		// struct { __u32 ifindex; __u32 attach_type; }
		const auto *tcx = reinterpret_cast<const uint32_t *>(&details.xdp);
		item["ifindex"] = Napi::Number::New(env, tcx[0]);
		item["attachType"] = Napi::Number::New(env, tcx[1]);
		break;
	}
	case BPF_LINK_TYPE_CGROUP:
		item["cgroupId"] = Napi::BigInt::New(env, uint64_t{details.cgroup.cgroup_id});
		item["attachType"] = Napi::Number::New(env, details.cgroup.attach_type);
		break;
	case BPF_LINK_TYPE_NETNS:
		item["netnsInode"] = Napi::Number::New(env, details.netns.netns_ino);
		item["attachType"] = Napi::Number::New(env, details.netns.attach_type);
		break;
	default:
		break;
	}
	return item;
}

// update(programFd): another program, in place; no packet sees a gap.
Napi::Value Link::update(const Napi::CallbackInfo &info)
{
	auto link = Fd::share(fd("update"), "update", "link");
	auto program = Fd::share(read_fd(info[0], "program"), "update", "program");
	return settle(info.Env(), [link, program] {
		if (bpf_link_update(link->get(), program->get(), nullptr))
			throw Failure("update", "link", errno);
	});
}

// detach(): for all holders; pins remain, but lead to nothing.
Napi::Value Link::detach(const Napi::CallbackInfo &info)
{
	auto link = Fd::share(fd("detach"), "detach", "link");
	return settle(info.Env(), [link] {
		// ENOLINK: detached already, or the device is gone.
		if (bpf_link_detach(link->get()) && errno != ENOLINK)
			throw Failure("detach", "link", errno);
	});
}

static std::vector<uint8_t> read_iterator(int link, const std::optional<std::string> &netns)
{
	// A text of this size would come from a program out of control.
	constexpr size_t MAX_BYTES = 64 << 20;
	NetnsStay stay(netns);
	Fd iterator(bpf_iter_create(link));
	if (!iterator.open())
		throw Failure("read", "link", errno);
	std::vector<uint8_t> text;
	uint8_t part[16384];
	while (text.size() < MAX_BYTES) {
		ssize_t length = ::read(iterator.get(), part, sizeof(part));
		if (length == 0)
			return text;
		if (length < 0 && errno != EINTR && errno != EAGAIN)
			throw Failure("read", "link", errno);
		if (length > 0)
			text.insert(text.end(), part, part + length);
	}
	throw Failure("read", "link", EFBIG);
}

// read(netns?): runs an iterator once, in a namespace; resolves to what its program wrote.
Napi::Value Link::read(const Napi::CallbackInfo &info)
{
	auto link = Fd::share(fd("read"), "read", "link");
	auto netns = read_optional_string(info[0], "netns");
	return Task<std::vector<uint8_t>>::start(
		info.Env(), [link, netns] { return read_iterator(link->get(), netns); },
		[](Napi::Env env, std::vector<uint8_t> &text) {
			return Napi::Buffer<uint8_t>::Copy(env, text.data(), text.size());
		});
}

Napi::Value Link::pin_at(const Napi::CallbackInfo &info)
{
	pin(fd("pin"), read_string(info[0], "path"));
	return info.Env().Undefined();
}

Napi::Value Link::unpin_at(const Napi::CallbackInfo &info)
{
	unpin(fd("unpin"), read_string(info[0], "path"), "link");
	return info.Env().Undefined();
}

Napi::Value Link::close(const Napi::CallbackInfo &info)
{
	fd_.reset();
	return info.Env().Undefined();
}
