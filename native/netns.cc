#include "netns.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "args.h"
#include "async.h"
#include "error.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

NetnsStay::NetnsStay(const std::optional<std::string> &path)
{
	if (!path)
		return;
	Fd target(open(path->c_str(), O_RDONLY | O_CLOEXEC));
	if (!target.open())
		throw Failure("setns", *path, errno);
	Fd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	if (!home.open())
		throw Failure("setns", *path, errno);
	if (setns(target.get(), CLONE_NEWNET))
		throw Failure("setns", *path, errno);
	home_ = std::move(home);
}

NetnsStay::~NetnsStay()
{
	if (home_.open() && setns(home_.get(), CLONE_NEWNET)) {
		fprintf(stderr, "libbpf-ts: cannot return to the network namespace: %s\n",
			strerror(errno));
		abort();
	}
}

unsigned int interface_index(const std::string &interface)
{
	char name[IF_NAMESIZE];
	if (interface[0] == '#') {
		unsigned long index = strtoul(interface.c_str() + 1, nullptr, 10);
		if (index == 0 || index > INT32_MAX ||
		    !if_indextoname(static_cast<unsigned int>(index), name))
			throw Failure("attach", interface, ENODEV, "no interface of this index");
		return static_cast<unsigned int>(index);
	}
	unsigned int found = if_nametoindex(interface.c_str());
	if (!found)
		throw Failure("attach", interface, ENODEV, "no interface of this name");
	return found;
}

static uint64_t cookie_here(const std::string &subject)
{
	Fd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (!socket_fd.open())
		throw Failure("netnsCookie", subject, errno);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	if (getsockopt(socket_fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		throw Failure("netnsCookie", subject, errno);
	return cookie;
}

// netnsCookie(path?): the cookie that BPF programs see.
static Napi::Value netns_cookie(const Napi::CallbackInfo &info)
{
	auto path = read_optional_string(info[0], "netns");
	uint64_t cookie = 0;
	if (!path) {
		cookie = cookie_here("own");
		return Napi::BigInt::New(info.Env(), cookie);
	}
	// A thread of its own: the JavaScript thread must never be elsewhere.
	std::unique_ptr<Failure> failure;
	std::thread([&] {
		try {
			NetnsStay stay(path);
			cookie = cookie_here(*path);
		} catch (const Failure &caught) {
			failure = std::make_unique<Failure>(caught);
		}
	}).join();
	if (failure)
		throw *failure;
	return Napi::BigInt::New(info.Env(), cookie);
}

struct SocketRequest {
	std::optional<std::string> netns;
	bool ipv6;
	bool tcp;
	std::string address;
	uint16_t port;
	int backlog;
	bool v6only;
	bool reuse_address;
	bool reuse_port;
	bool free_bind;
};

static void set_option(int fd, int level, int option, int value, const std::string &subject)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		throw Failure("openSocket", subject, errno, "setsockopt");
}

static Fd open_socket_here(const SocketRequest &request)
{
	std::string subject = request.address + " port " + std::to_string(request.port);
	struct sockaddr_in v4 = {};
	struct sockaddr_in6 v6 = {};
	v4.sin_family = AF_INET;
	v4.sin_port = htons(request.port);
	v6.sin6_family = AF_INET6;
	v6.sin6_port = htons(request.port);
	int parsed = request.ipv6 ? inet_pton(AF_INET6, request.address.c_str(), &v6.sin6_addr)
				  : inet_pton(AF_INET, request.address.c_str(), &v4.sin_addr);
	if (parsed != 1)
		throw Failure("openSocket", subject, EINVAL, "not an address of this family");
	int type = request.tcp ? SOCK_STREAM : SOCK_DGRAM;
	Fd fd(socket(request.ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	if (!fd.open())
		throw Failure("openSocket", subject, errno);
	if (request.ipv6)
		set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, request.v6only, subject);
	if (request.reuse_address)
		set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, subject);
	if (request.reuse_port)
		set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, subject);
	if (request.free_bind)
		set_option(fd.get(), IPPROTO_IP, IP_FREEBIND, 1, subject);
	auto *address = request.ipv6 ? reinterpret_cast<struct sockaddr *>(&v6)
				     : reinterpret_cast<struct sockaddr *>(&v4);
	if (bind(fd.get(), address, request.ipv6 ? sizeof(v6) : sizeof(v4)))
		throw Failure("openSocket", subject, errno, "bind");
	if (request.tcp && listen(fd.get(), request.backlog))
		throw Failure("openSocket", subject, errno, "listen");
	return fd;
}

// openSocket({netns, ipv6, tcp, address, port, ...}): a promise of a descriptor, the caller's.
static Napi::Value open_socket(const Napi::CallbackInfo &info)
{
	Napi::Object wanted = read_object(info[0], "options");
	SocketRequest request;
	request.netns = read_optional_string(wanted.Get("netns"), "netns");
	request.ipv6 = read_bool(wanted.Get("ipv6"), "ipv6");
	request.tcp = read_bool(wanted.Get("tcp"), "tcp");
	request.address = read_string(wanted.Get("address"), "address");
	request.port = static_cast<uint16_t>(read_u32(wanted.Get("port"), "port", 65535));
	request.backlog = static_cast<int>(read_u32(wanted.Get("backlog"), "backlog", 65535));
	request.v6only = read_bool(wanted.Get("v6only"), "v6only");
	request.reuse_address = read_bool(wanted.Get("reuseAddr"), "reuseAddr");
	request.reuse_port = read_bool(wanted.Get("reusePort"), "reusePort");
	request.free_bind = read_bool(wanted.Get("freeBind"), "freeBind");
	return Task<Fd>::start(
		info.Env(),
		[request] {
			NetnsStay stay(request.netns);
			return open_socket_here(request);
		},
		[](Napi::Env env, Fd &fd) { return Napi::Number::New(env, fd.release()); });
}

static std::vector<Fd> create_sockets_here(int family, int type, uint32_t count)
{
	std::vector<Fd> sockets;
	while (sockets.size() < count) {
		Fd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
		if (!fd.open())
			throw Failure("createSockets", std::to_string(count), errno);
		sockets.push_back(std::move(fd));
	}
	return sockets;
}

// createSockets({netns, ipv6, tcp, count}): a promise of descriptors, the caller's.
static Napi::Value create_sockets(const Napi::CallbackInfo &info)
{
	Napi::Object wanted = read_object(info[0], "options");
	auto netns = read_optional_string(wanted.Get("netns"), "netns");
	int family = read_bool(wanted.Get("ipv6"), "ipv6") ? AF_INET6 : AF_INET;
	int type = read_bool(wanted.Get("tcp"), "tcp") ? SOCK_STREAM : SOCK_DGRAM;
	uint32_t count = read_u32(wanted.Get("count"), "count", 1024);
	return Task<std::vector<Fd>>::start(
		info.Env(),
		[netns, family, type, count] {
			NetnsStay stay(netns);
			return create_sockets_here(family, type, count);
		},
		[](Napi::Env env, std::vector<Fd> &sockets) -> Napi::Value {
			Napi::Array result = Napi::Array::New(env, sockets.size());
			for (uint32_t i = 0; i < sockets.size(); i++)
				result.Set(i, Napi::Number::New(env, sockets[i].release()));
			return result;
		});
}

using Packet = std::vector<uint8_t>;

// Where the packet's own header says. Returns whether the kernel took it.
static bool send_packet(int v4, int v6, const Packet &packet)
{
	struct sockaddr_in to4 = {};
	struct sockaddr_in6 to6 = {};
	if (packet[0] >> 4 == 4) {
		to4.sin_family = AF_INET;
		memcpy(&to4.sin_addr, &packet[16], sizeof(to4.sin_addr));
		return sendto(v4, packet.data(), packet.size(), MSG_DONTWAIT,
			      reinterpret_cast<struct sockaddr *>(&to4), sizeof(to4)) >= 0;
	}
	to6.sin6_family = AF_INET6;
	memcpy(&to6.sin6_addr, &packet[24], sizeof(to6.sin6_addr));
	return sendto(v6, packet.data(), packet.size(), MSG_DONTWAIT,
		      reinterpret_cast<struct sockaddr *>(&to6), sizeof(to6)) >= 0;
}

static Packet read_packet(const Napi::Value &value)
{
	Bytes bytes = read_bytes(value, "packet");
	unsigned int version = bytes.size ? bytes.data[0] >> 4 : 0;
	if ((version != 4 && version != 6) || bytes.size < (version == 4 ? 20u : 40u) ||
	    bytes.size > 65535)
		throw Napi::RangeError::New(value.Env(), "packet must begin with an IP header");
	return Packet(bytes.data, bytes.data + bytes.size);
}

// sendPackets(netns, packets): a promise of the number that the kernel took.
static Napi::Value send_packets(const Napi::CallbackInfo &info)
{
	auto netns = read_optional_string(info[0], "netns");
	if (!info[1].IsArray())
		throw Napi::TypeError::New(info.Env(), "packets must be an array");
	Napi::Array given = info[1].As<Napi::Array>();
	std::vector<Packet> packets;
	for (uint32_t i = 0; i < given.Length(); i++)
		packets.push_back(read_packet(given.Get(i)));
	return Task<uint32_t>::start(
		info.Env(),
		[netns, packets] {
			NetnsStay stay(netns);
			// With this protocol the kernel adds no IP header.
			Fd v4(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
			Fd v6(socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
			if (!v4.open() && !v6.open())
				throw Failure("sendPackets", netns.value_or("own"), errno);
			uint32_t sent = 0;
			for (const auto &packet : packets)
				sent += send_packet(v4.get(), v6.get(), packet);
			return sent;
		},
		[](Napi::Env env, uint32_t &sent) { return Napi::Number::New(env, sent); });
}

void init_netns(Napi::Env env, Napi::Object exports)
{
	exports.Set("createSockets",
		    Napi::Function::New<guarded<create_sockets>>(env, "createSockets"));
	exports.Set("netnsCookie", Napi::Function::New<guarded<netns_cookie>>(env, "netnsCookie"));
	exports.Set("sendPackets", Napi::Function::New<guarded<send_packets>>(env, "sendPackets"));
	exports.Set("openSocket", Napi::Function::New<guarded<open_socket>>(env, "openSocket"));
}
