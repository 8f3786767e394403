// One libbpf object file: opened, adjusted, loaded.
#pragma once

#include <bpf/libbpf.h>
#include <napi.h>
#include <string>

#include "error.h"

class BpfObject : public Wrap<BpfObject>
{
      public:
	static void init(Napi::Env env, Napi::Object exports);
	explicit BpfObject(const Napi::CallbackInfo &info);
	~BpfObject() override;

      private:
	Napi::Value maps(const Napi::CallbackInfo &info);
	Napi::Value programs(const Napi::CallbackInfo &info);
	Napi::Value btf(const Napi::CallbackInfo &info);
	Napi::Value initial_value(const Napi::CallbackInfo &info);
	Napi::Value set_initial_value(const Napi::CallbackInfo &info);
	Napi::Value resize(const Napi::CallbackInfo &info);
	Napi::Value reuse(const Napi::CallbackInfo &info);
	Napi::Value set_attach_type(const Napi::CallbackInfo &info);
	Napi::Value set_autoload(const Napi::CallbackInfo &info);
	Napi::Value load(const Napi::CallbackInfo &info);
	Napi::Value load_async(const Napi::CallbackInfo &info);
	Napi::Value map_fd(const Napi::CallbackInfo &info);
	Napi::Value program_fd(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

	struct bpf_object *opened(const char *operation);
	struct bpf_object *unloaded(const char *operation);
	struct bpf_map *find_map(const Napi::Value &name, const char *operation);
	struct bpf_program *find_program(const Napi::Value &name, const char *operation);

	std::string path_;
	struct bpf_object *object_ = nullptr;
	bool loaded_ = false;
	bool busy_ = false;    // a thread of the pool is loading it
	bool closing_ = false; // close() came meanwhile
};
