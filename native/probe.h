// What the running kernel can do, as data.
#pragma once

#include <napi.h>

void init_probe(Napi::Env env, Napi::Object exports);
