#include "error.h"

#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "addon.h"

static thread_local LogCapture *current_capture = nullptr;

LogCapture::LogCapture() : outer_(current_capture)
{
	current_capture = this;
}

LogCapture::~LogCapture()
{
	current_capture = outer_;
}

void LogCapture::append(const char *text, size_t length)
{
	if (length > LIMIT) {
		text += length - LIMIT;
		length = LIMIT;
	}
	if (text_.size() + length > LIMIT)
		text_.erase(0, text_.size() + length - LIMIT);
	text_.append(text, length);
}

static int capture_print(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_DEBUG || !current_capture)
		return 0;
	va_list again;
	va_copy(again, args);
	char small[1024];
	int length = vsnprintf(small, sizeof(small), format, args);
	if (length < 0) {
		va_end(again);
		return 0;
	}
	if (static_cast<size_t>(length) < sizeof(small)) {
		current_capture->append(small, length);
	} else {
		std::string large(static_cast<size_t>(length) + 1, '\0');
		vsnprintf(large.data(), large.size(), format, again);
		current_capture->append(large.data(), length);
	}
	va_end(again);
	return length;
}

void install_print_callback()
{
	libbpf_set_print(capture_print);
}

Napi::Error to_js(Napi::Env env, const Failure &failure)
{
	auto &construct = addon_data(env).error_class;
	if (construct.IsEmpty())
		return Napi::Error::New(env, failure.operation + " " + failure.subject + ": " +
						     strerror(failure.error));
	Napi::Value log = failure.log.empty() ? env.Undefined()
					      : Napi::Value(Napi::String::New(env, failure.log));
	Napi::Object error = construct.New({
		Napi::String::New(env, failure.operation),
		Napi::String::New(env, failure.subject),
		Napi::Number::New(env, failure.error),
		log,
	});
	return Napi::Error(env, error);
}
