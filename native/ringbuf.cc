#include "ringbuf.h"

#include <bpf/bpf.h>
#include <cerrno>

#include "args.h"

// Records delivered before other events of the loop get their turn.
static constexpr uint32_t BUDGET = 4096;

void RingBuffer::init(Napi::Env env, Napi::Object exports)
{
	using R = RingBuffer;
	exports.Set("RingBuffer", DefineClass(env, "RingBuffer",
					      {
						      method<&R::ref_loop>("ref"),
						      method<&R::unref_loop>("unref"),
						      method<&R::consume>("consume"),
						      method<&R::close>("close"),
					      }));
}

// new RingBuffer(mapFd, onRecord): the callback gets a copy of each record.
RingBuffer::RingBuffer(const Napi::CallbackInfo &info) : Wrap(info)
{
	Napi::Env env = info.Env();
	int map = read_fd(info[0], "map");
	if (!info[1].IsFunction())
		throw Napi::TypeError::New(env, "onRecord: not a function");
	callback_ = Napi::Persistent(info[1].As<Napi::Function>());
	uv_loop_t *loop = nullptr;
	if (napi_get_uv_event_loop(env, &loop) != napi_ok)
		throw Napi::Error::New(env, "no event loop");
	LogCapture log;
	struct ring_buffer *ring = ring_buffer__new(map, on_record, this, nullptr);
	if (!ring)
		throw to_js(env, Failure("ringBuffer", "map", errno, log.text()));
	poll_ = new Poll{{}, this, nullptr, ring};
	int error = uv_poll_init(loop, &poll_->handle, ring_buffer__epoll_fd(ring));
	if (error) {
		ring_buffer__free(ring);
		delete poll_;
		poll_ = nullptr;
		throw to_js(env, Failure("ringBuffer", "poll", -error));
	}
	poll_->handle.data = poll_;
	uv_poll_start(&poll_->handle, UV_READABLE, on_readable);
	napi_add_async_cleanup_hook(env, on_cleanup, poll_, &poll_->cleanup);
	Ref(); // an open ring buffer is not garbage: its callback may be called
}

RingBuffer::~RingBuffer()
{
	stop();
}

void RingBuffer::on_readable(uv_poll_t *handle, int, int)
{
	RingBuffer *self = static_cast<Poll *>(handle->data)->owner;
	if (!self || !self->poll_)
		return;
	Napi::Env env = self->Env();
	Napi::HandleScope scope(env);
	try {
		self->drain();
	} catch (const Failure &failure) {
		napi_fatal_exception(env, to_js(env, failure).Value());
	} catch (const Napi::Error &error) {
		napi_fatal_exception(env, error.Value());
	}
}

int RingBuffer::on_record(void *context, void *data, size_t size)
{
	auto *self = static_cast<RingBuffer *>(context);
	Napi::Env env = self->Env();
	Napi::HandleScope scope(env);
	// libbpf is C: no C++ exception may pass through it.
	try {
		auto record = Napi::Buffer<uint8_t>::Copy(env, static_cast<uint8_t *>(data), size);
		self->callback_.MakeCallback(env.Global(), {record});
	} catch (const Napi::Error &error) {
		napi_fatal_exception(env, error.Value());
	} catch (const std::exception &) {
		self->failed_ = true;
		return -ENOMEM;
	}
	// Closed by its own callback, or enough for one turn: the rest stays in the buffer.
	return self->poll_ && --self->budget_ > 0 ? 0 : -ECANCELED;
}

int RingBuffer::drain()
{
	// The callback may close the buffer, which makes it garbage under our feet.
	Napi::HandleScope scope(Env());
	[[maybe_unused]] Napi::Object alive = Value();
	budget_ = BUDGET;
	draining_ = true;
	struct ring_buffer *ring = poll_->ring;
	int result = ring_buffer__consume(ring);
	draining_ = false;
	if (!poll_)
		ring_buffer__free(ring);
	if (result < 0 && result != -ECANCELED)
		throw Failure("ringBuffer", "consume", -result);
	return static_cast<int>(BUDGET - budget_);
}

// consume(): delivers now what is there, a few thousand at most; how many that were.
Napi::Value RingBuffer::consume(const Napi::CallbackInfo &info)
{
	if (!poll_)
		throw Failure("consume", "ring buffer", EBADF, "the ring buffer is closed");
	if (draining_)
		throw Failure("consume", "ring buffer", EBUSY, "called from its own callback");
	return Napi::Number::New(info.Env(), drain());
}

Napi::Value RingBuffer::ref_loop(const Napi::CallbackInfo &info)
{
	if (poll_)
		uv_ref(reinterpret_cast<uv_handle_t *>(&poll_->handle));
	return info.Env().Undefined();
}

Napi::Value RingBuffer::unref_loop(const Napi::CallbackInfo &info)
{
	if (poll_)
		uv_unref(reinterpret_cast<uv_handle_t *>(&poll_->handle));
	return info.Env().Undefined();
}

void RingBuffer::stop()
{
	if (!poll_)
		return;
	Poll *poll = poll_;
	poll_ = nullptr;
	poll->owner = nullptr;
	uv_poll_stop(&poll->handle);
	if (!draining_)
		ring_buffer__free(poll->ring);
	uv_close(reinterpret_cast<uv_handle_t *>(&poll->handle), [](uv_handle_t *handle) {
		auto *closed = static_cast<Poll *>(handle->data);
		napi_remove_async_cleanup_hook(closed->cleanup);
		delete closed;
	});
}

void RingBuffer::on_cleanup(napi_async_cleanup_hook_handle, void *poll)
{
	RingBuffer *owner = static_cast<Poll *>(poll)->owner;
	if (owner)
		owner->stop();
}

Napi::Value RingBuffer::close(const Napi::CallbackInfo &info)
{
	if (poll_) {
		stop();
		Unref();
	}
	return info.Env().Undefined();
}
