// One ring buffer, read on the JavaScript thread whenever libuv sees records in it.
#pragma once

#include <bpf/libbpf.h>
#include <napi.h>
#include <uv.h>

#include "error.h"

class RingBuffer : public Wrap<RingBuffer>
{
      public:
	static void init(Napi::Env env, Napi::Object exports);
	explicit RingBuffer(const Napi::CallbackInfo &info);
	~RingBuffer() override;

      private:
	// Lives until libuv has let go of the handle, which is after close().
	struct Poll {
		uv_poll_t handle;
		RingBuffer *owner;
		napi_async_cleanup_hook_handle cleanup;
		struct ring_buffer *ring;
	};

	Napi::Value ref_loop(const Napi::CallbackInfo &info);
	Napi::Value unref_loop(const Napi::CallbackInfo &info);
	Napi::Value consume(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

	static void on_readable(uv_poll_t *handle, int status, int events);
	static int on_record(void *context, void *data, size_t size);
	static void on_cleanup(napi_async_cleanup_hook_handle hook, void *poll);
	int drain();
	void stop();

	Napi::FunctionReference callback_;
	Poll *poll_ = nullptr;
	uint32_t budget_ = 0;
	bool draining_ = false;
	bool failed_ = false;
};
