// One loaded program, by its own descriptor.
#pragma once

#include <napi.h>
#include <string>

#include "error.h"
#include "fd.h"

class Program : public Wrap<Program>
{
      public:
	static void init(Napi::Env env, Napi::Object exports);
	explicit Program(const Napi::CallbackInfo &info);

      private:
	Napi::Value details(const Napi::CallbackInfo &info);
	Napi::Value test_run(const Napi::CallbackInfo &info);
	Napi::Value pin_at(const Napi::CallbackInfo &info);
	Napi::Value unpin_at(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

	int fd(const char *operation) const;

	Fd fd_;
	std::string name_;
};
