// Network namespaces: a thread's stay in one, and what is made there.
#pragma once

#include <napi.h>
#include <optional>
#include <string>

#include "fd.h"

// While it lives, this thread is in the namespace behind `path` (none: where it is). Never use it
// on the JavaScript thread. Aborts the process when the way back fails: the thread would serve
// others in a foreign namespace.
class NetnsStay
{
      public:
	// Throws Failure, then nothing has changed.
	explicit NetnsStay(const std::optional<std::string> &path);
	~NetnsStay();
	NetnsStay(const NetnsStay &) = delete;
	NetnsStay &operator=(const NetnsStay &) = delete;

      private:
	Fd home_;
};

// An interface of the current namespace, by name, or by index as #5. Throws Failure ENODEV.
unsigned int interface_index(const std::string &interface);

void init_netns(Napi::Env env, Napi::Object exports);
