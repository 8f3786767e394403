// What one environment (the main thread, or a worker) of the addon holds.
#pragma once

#include <napi.h>

struct AddonData {
	Napi::FunctionReference error_class;
};

AddonData &addon_data(Napi::Env env);
