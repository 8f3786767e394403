// Work on a thread of libuv's pool, with a promise for the caller.
#pragma once

#include <functional>
#include <memory>
#include <napi.h>

#include "error.h"

// T: what `work` (on the pool; may throw Failure, must not touch JavaScript) hands to `deliver`
// (on the JavaScript thread; may throw Failure, too).
template <typename T> class Task : public Napi::AsyncWorker
{
      public:
	using Work = std::function<T()>;
	using Deliver = std::function<Napi::Value(Napi::Env, T &)>;

	static Napi::Promise start(Napi::Env env, Work work, Deliver deliver)
	{
		auto *task = new Task(env, std::move(work), std::move(deliver));
		Napi::Promise promise = task->deferred_.Promise();
		task->Queue();
		return promise;
	}

      protected:
	void Execute() override
	{
		try {
			result_ = std::make_unique<T>(work_());
		} catch (const Failure &failure) {
			failure_ = std::make_unique<Failure>(failure);
		} catch (const std::exception &error) {
			failure_ =
				std::make_unique<Failure>("work", "thread", ENOMEM, error.what());
		}
	}

	void OnOK() override
	{
		Napi::HandleScope scope(Env());
		if (failure_)
			return deferred_.Reject(to_js(Env(), *failure_).Value());
		try {
			deferred_.Resolve(deliver_(Env(), *result_));
		} catch (const Failure &failure) {
			deferred_.Reject(to_js(Env(), failure).Value());
		}
	}

      private:
	Task(Napi::Env env, Work work, Deliver deliver)
	    : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)),
	      work_(std::move(work)), deliver_(std::move(deliver))
	{
	}

	Napi::Promise::Deferred deferred_;
	Work work_;
	Deliver deliver_;
	std::unique_ptr<T> result_;
	std::unique_ptr<Failure> failure_;
};

// The same for work that has no result.
inline Napi::Promise settle(Napi::Env env, std::function<void()> work)
{
	return Task<bool>::start(
		env, [work] { return work(), true; },
		[](Napi::Env env, bool &) { return env.Undefined(); });
}
