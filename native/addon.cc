#include "addon.h"

#include "args.h"
#include "attach.h"
#include "btf.h"
#include "error.h"
#include "link.h"
#include "map.h"
#include "netns.h"
#include "object.h"
#include "probe.h"
#include "program.h"
#include "ringbuf.h"

AddonData &addon_data(Napi::Env env)
{
	return *env.GetInstanceData<AddonData>();
}

// setErrorClass(class): what failures are made of; called as new class(operation, subject, errno,
// log).
static Napi::Value set_error_class(const Napi::CallbackInfo &info)
{
	if (!info[0].IsFunction())
		throw Napi::TypeError::New(info.Env(), "class: not a function");
	addon_data(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
	return info.Env().Undefined();
}

static Napi::Object init(Napi::Env env, Napi::Object exports)
{
	env.SetInstanceData(new AddonData());
	install_print_callback();
	exports.Set("setErrorClass", Napi::Function::New<set_error_class>(env, "setErrorClass"));
	BpfObject::init(env, exports);
	Map::init(env, exports);
	Program::init(env, exports);
	Link::init(env, exports);
	RingBuffer::init(env, exports);
	init_attach(env, exports);
	init_btf(env, exports);
	init_netns(env, exports);
	init_probe(env, exports);
	return exports;
}

NODE_API_MODULE(bpf, init)
