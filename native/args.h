// Checked reading of arguments. All throw TypeError or RangeError with the argument's name.
#pragma once

#include <cstdint>
#include <napi.h>
#include <optional>
#include <string>

struct Bytes {
	uint8_t *data;
	size_t size;
};

Bytes read_bytes(const Napi::Value &value, const char *name);
Bytes read_bytes(const Napi::Value &value, const char *name, size_t exactly);
std::optional<Bytes> read_optional_bytes(const Napi::Value &value, const char *name);
uint32_t read_u32(const Napi::Value &value, const char *name, uint32_t max = UINT32_MAX);
// A descriptor: not negative, and a C int.
int read_fd(const Napi::Value &value, const char *name);
bool read_bool(const Napi::Value &value, const char *name);
// Without NUL bytes, which would cut it short in the kernel's eyes.
std::string read_string(const Napi::Value &value, const char *name);
std::optional<std::string> read_optional_string(const Napi::Value &value, const char *name);
Napi::Object read_object(const Napi::Value &value, const char *name);
