#include "args.h"

#include <climits>
#include <cmath>

Bytes read_bytes(const Napi::Value &value, const char *name)
{
	napi_typedarray_type type;
	size_t length;
	void *data = nullptr;
	napi_status status = napi_get_typedarray_info(value.Env(), value, &type, &length, &data,
						      nullptr, nullptr);
	if (status != napi_ok || type != napi_uint8_array)
		throw Napi::TypeError::New(value.Env(), std::string(name) + ": not a Uint8Array");
	return {static_cast<uint8_t *>(data), length};
}

Bytes read_bytes(const Napi::Value &value, const char *name, size_t exactly)
{
	Bytes bytes = read_bytes(value, name);
	if (bytes.size != exactly)
		throw Napi::RangeError::New(value.Env(),
					    std::string(name) + ": " + std::to_string(bytes.size) +
						    " bytes, not " + std::to_string(exactly));
	return bytes;
}

std::optional<Bytes> read_optional_bytes(const Napi::Value &value, const char *name)
{
	if (value.IsUndefined())
		return std::nullopt;
	return read_bytes(value, name);
}

uint32_t read_u32(const Napi::Value &value, const char *name, uint32_t max)
{
	if (!value.IsNumber())
		throw Napi::TypeError::New(value.Env(), std::string(name) + ": not a number");
	double number = value.As<Napi::Number>().DoubleValue();
	if (!(number >= 0 && number <= max) || number != std::floor(number))
		throw Napi::RangeError::New(value.Env(), std::string(name) +
								 ": not an integer from 0 to " +
								 std::to_string(max));
	return static_cast<uint32_t>(number);
}

int read_fd(const Napi::Value &value, const char *name)
{
	return static_cast<int>(read_u32(value, name, INT_MAX));
}

bool read_bool(const Napi::Value &value, const char *name)
{
	if (!value.IsBoolean())
		throw Napi::TypeError::New(value.Env(), std::string(name) + ": not a boolean");
	return value.As<Napi::Boolean>().Value();
}

std::string read_string(const Napi::Value &value, const char *name)
{
	if (!value.IsString())
		throw Napi::TypeError::New(value.Env(), std::string(name) + ": not a string");
	std::string text = value.As<Napi::String>().Utf8Value();
	if (text.find('\0') != std::string::npos)
		throw Napi::RangeError::New(value.Env(), std::string(name) + ": contains NUL");
	return text;
}

std::optional<std::string> read_optional_string(const Napi::Value &value, const char *name)
{
	if (value.IsUndefined())
		return std::nullopt;
	return read_string(value, name);
}

Napi::Object read_object(const Napi::Value &value, const char *name)
{
	if (!value.IsObject())
		throw Napi::TypeError::New(value.Env(), std::string(name) + ": not an object");
	return value.As<Napi::Object>();
}
