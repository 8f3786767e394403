// One attachment that the kernel keeps as a link, and the ways to make attachments.
#pragma once

#include <napi.h>

#include "error.h"
#include "fd.h"

class Link : public Wrap<Link>
{
      public:
	static void init(Napi::Env env, Napi::Object exports);
	explicit Link(const Napi::CallbackInfo &info);

      private:
	Napi::Value details(const Napi::CallbackInfo &info);
	Napi::Value update(const Napi::CallbackInfo &info);
	Napi::Value detach(const Napi::CallbackInfo &info);
	Napi::Value read(const Napi::CallbackInfo &info);
	Napi::Value pin_at(const Napi::CallbackInfo &info);
	Napi::Value unpin_at(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

	int fd(const char *operation) const;

	Fd fd_;
};
