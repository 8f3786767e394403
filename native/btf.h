// Type data as the kernel keeps it; reading it is left to JavaScript.
#pragma once

#include <napi.h>

void init_btf(Napi::Env env, Napi::Object exports);
