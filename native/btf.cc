#include "btf.h"

#include <bpf/btf.h>
#include <cerrno>
#include <memory>

#include "args.h"
#include "error.h"

using BtfHandle = std::unique_ptr<struct btf, decltype(&btf__free)>;

// kernelBtf(id): a copy of the type data loaded under `id`.
static Napi::Value kernel_btf(const Napi::CallbackInfo &info)
{
	uint32_t id = read_u32(info[0], "id");
	BtfHandle btf(btf__load_from_kernel_by_id(id), btf__free);
	if (!btf)
		throw Failure("btf", std::to_string(id), errno);
	__u32 size = 0;
	const void *data = btf__raw_data(btf.get(), &size);
	if (!data)
		throw Failure("btf", std::to_string(id), ENOMEM);
	return Napi::Buffer<uint8_t>::Copy(info.Env(), static_cast<const uint8_t *>(data), size);
}

void init_btf(Napi::Env env, Napi::Object exports)
{
	exports.Set("kernelBtf", Napi::Function::New<guarded<kernel_btf>>(env, "kernelBtf"));
}
