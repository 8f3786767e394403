// Failures of the kernel and of libbpf, on any thread, and their way to JavaScript.
#pragma once

#include <cstddef>
#include <exception>
#include <napi.h>
#include <string>

struct Failure : std::exception {
	Failure(std::string operation, std::string subject, int error, std::string log = {})
	    : operation(std::move(operation)), subject(std::move(subject)), error(error),
	      log(std::move(log))
	{
	}
	const char *what() const noexcept override { return operation.c_str(); }

	std::string operation;
	std::string subject;
	int error; // positive; libbpf's own start at 4000
	std::string log;
};

// An instance of the error class registered by setErrorClass().
Napi::Error to_js(Napi::Env env, const Failure &failure);

// Collects what libbpf prints on this thread while in scope; nests. Keeps the last LIMIT bytes,
// because the verifier's reason is at the end.
class LogCapture
{
      public:
	static constexpr size_t LIMIT = 256 * 1024;

	LogCapture();
	~LogCapture();
	LogCapture(const LogCapture &) = delete;
	LogCapture &operator=(const LogCapture &) = delete;
	const std::string &text() const { return text_; }
	void append(const char *text, size_t length);

      private:
	LogCapture *outer_;
	std::string text_;
};

void install_print_callback();

// A wrapped class whose methods may throw Failure. Registered as method<&T::Method>("name").
template <typename T> class Wrap : public Napi::ObjectWrap<T>
{
      public:
	using Method = Napi::Value (T::*)(const Napi::CallbackInfo &);

	explicit Wrap(const Napi::CallbackInfo &info) : Napi::ObjectWrap<T>(info) {}

	template <Method M> static Napi::ClassPropertyDescriptor<T> method(const char *name)
	{
		napi_property_descriptor descriptor = {};
		descriptor.utf8name = name;
		descriptor.method = enter<M>;
		return Napi::ClassPropertyDescriptor<T>(descriptor);
	}

      private:
	template <Method M> static napi_value enter(napi_env env, napi_callback_info raw)
	{
		return Napi::details::WrapCallback(env, [&]() -> napi_value {
			Napi::CallbackInfo info(env, raw);
			T *self = Napi::ObjectWrap<T>::Unwrap(info.This().As<Napi::Object>());
			try {
				return (self->*M)(info);
			} catch (const Failure &failure) {
				throw to_js(env, failure);
			} catch (const Napi::Error &) {
				throw;
			} catch (const std::exception &error) {
				throw Napi::Error::New(env, error.what());
			}
		});
	}
};

// The same for a plain function.
template <Napi::Value (*Function)(const Napi::CallbackInfo &)>
Napi::Value guarded(const Napi::CallbackInfo &info)
{
	try {
		return Function(info);
	} catch (const Failure &failure) {
		throw to_js(info.Env(), failure);
	} catch (const Napi::Error &) {
		throw;
	} catch (const std::exception &error) {
		throw Napi::Error::New(info.Env(), error.what());
	}
}
