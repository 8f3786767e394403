// The ways to attach a program. All run on the pool, in the namespace asked for.
#pragma once

#include <napi.h>

void init_attach(Napi::Env env, Napi::Object exports);
