#include "program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <vector>

#include "args.h"

// Larger packets than any device's, yet nothing that exhausts memory.
static constexpr uint32_t MAX_TEST_BYTES = 16 << 20;
// Some minutes of a slow program: a run cannot be interrupted.
static constexpr uint32_t MAX_REPEAT = 100'000'000;

void Program::init(Napi::Env env, Napi::Object exports)
{
	using P = Program;
	exports.Set("Program", DefineClass(env, "Program",
					   {
						   method<&P::details>("details"),
						   method<&P::test_run>("testRun"),
						   method<&P::pin_at>("pin"),
						   method<&P::unpin_at>("unpin"),
						   method<&P::close>("close"),
					   }));
}

// new Program(source): a descriptor (it is duplicated) or a pin's path.
Program::Program(const Napi::CallbackInfo &info) : Wrap(info)
{
	try {
		if (info[0].IsString()) {
			name_ = read_string(info[0], "path");
			fd_ = open_pin(name_, "prog");
		} else {
			fd_ = Fd::duplicate(read_fd(info[0], "fd"), "open", "program");
			bpf_id(fd_.get(), "prog", "open", "program");
		}
		struct bpf_prog_info details = {};
		__u32 size = sizeof(details);
		if (bpf_obj_get_info_by_fd(fd_.get(), &details, &size))
			throw Failure("open", name_, errno);
		name_ = details.name;
	} catch (const Failure &failure) {
		throw to_js(info.Env(), failure);
	}
}

int Program::fd(const char *operation) const
{
	if (!fd_.open())
		throw Failure(operation, name_, EBADF, "the program is closed");
	return fd_.get();
}

// details(): what the kernel says of the program, now.
Napi::Value Program::details(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	struct bpf_prog_info details = {};
	__u32 size = sizeof(details);
	if (bpf_obj_get_info_by_fd(fd("details"), &details, &size))
		throw Failure("details", name_, errno);
	Napi::Object item = Napi::Object::New(env);
	item["fd"] = Napi::Number::New(env, fd_.get());
	item["id"] = Napi::Number::New(env, details.id);
	item["name"] = Napi::String::New(env, details.name);
	item["type"] = Napi::Number::New(env, details.type);
	item["instructions"] = Napi::Number::New(env, details.xlated_prog_len / 8);
	item["jitedBytes"] = Napi::Number::New(env, details.jited_prog_len);
	item["verifiedInstructions"] = Napi::Number::New(env, details.verified_insns);
	item["runCount"] = Napi::BigInt::New(env, static_cast<uint64_t>(details.run_cnt));
	item["runTimeNs"] = Napi::BigInt::New(env, static_cast<uint64_t>(details.run_time_ns));
	return item;
}

// testRun(data?, ctx?, dataOutSize?, ctxOutSize?, repeat, flags, batchSize, cpu)
Napi::Value Program::test_run(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	int program = fd("testRun");
	auto data = read_optional_bytes(info[0], "data");
	auto ctx = read_optional_bytes(info[1], "ctx");
	if ((data && data->size > MAX_TEST_BYTES) || (ctx && ctx->size > MAX_TEST_BYTES))
		throw Napi::RangeError::New(env, "data: larger than 16 MiB");
	uint32_t data_out_size = read_u32(info[2], "dataOutSize", MAX_TEST_BYTES);
	uint32_t ctx_out_size = read_u32(info[3], "ctxOutSize", MAX_TEST_BYTES);
	std::vector<uint8_t> data_out(data_out_size), ctx_out(ctx_out_size);

	LIBBPF_OPTS(bpf_test_run_opts, opts);
	opts.data_in = data ? data->data : nullptr;
	opts.data_size_in = data ? data->size : 0;
	opts.data_out = data_out_size ? data_out.data() : nullptr;
	opts.data_size_out = data_out_size;
	opts.ctx_in = ctx ? ctx->data : nullptr;
	opts.ctx_size_in = ctx ? ctx->size : 0;
	opts.ctx_out = ctx_out_size ? ctx_out.data() : nullptr;
	opts.ctx_size_out = ctx_out_size;
	opts.repeat = read_u32(info[4], "repeat", MAX_REPEAT);
	opts.flags = read_u32(info[5], "flags");
	opts.batch_size = read_u32(info[6], "batchSize", 1 << 16);
	opts.cpu = read_u32(info[7], "cpu");
	if (bpf_prog_test_run_opts(program, &opts)) {
		int error = errno;
		throw Failure("testRun", name_, error,
			      error == ENOSPC
				      ? "the output is " + std::to_string(opts.data_size_out) +
						" bytes"
				      : "");
	}
	Napi::Object result = Napi::Object::New(env);
	result["retval"] = Napi::Number::New(env, opts.retval);
	result["durationNs"] = Napi::Number::New(env, opts.duration);
	size_t length = std::min<size_t>(opts.data_size_out, data_out.size());
	result["data"] = Napi::Buffer<uint8_t>::Copy(env, data_out.data(), length);
	if (ctx_out_size) {
		length = std::min<size_t>(opts.ctx_size_out, ctx_out.size());
		result["ctx"] = Napi::Buffer<uint8_t>::Copy(env, ctx_out.data(), length);
	}
	return result;
}

Napi::Value Program::pin_at(const Napi::CallbackInfo &info)
{
	pin(fd("pin"), read_string(info[0], "path"));
	return info.Env().Undefined();
}

Napi::Value Program::unpin_at(const Napi::CallbackInfo &info)
{
	unpin(fd("unpin"), read_string(info[0], "path"), "prog");
	return info.Env().Undefined();
}

Napi::Value Program::close(const Napi::CallbackInfo &info)
{
	fd_.reset();
	return info.Env().Undefined();
}
