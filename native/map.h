// One map, by its own descriptor. Every buffer's length is checked here.
#pragma once

#include <cstdint>
#include <napi.h>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"
#include "fd.h"

class Map : public Wrap<Map>
{
      public:
	static void init(Napi::Env env, Napi::Object exports);
	explicit Map(const Napi::CallbackInfo &info);

      private:
	Napi::Value details(const Napi::CallbackInfo &info);
	Napi::Value lookup(const Napi::CallbackInfo &info);
	Napi::Value update(const Napi::CallbackInfo &info);
	Napi::Value remove(const Napi::CallbackInfo &info);
	Napi::Value next_key(const Napi::CallbackInfo &info);
	Napi::Value lookup_batch(const Napi::CallbackInfo &info);
	Napi::Value update_many(const Napi::CallbackInfo &info);
	Napi::Value delete_many(const Napi::CallbackInfo &info);
	Napi::Value count(const Napi::CallbackInfo &info);
	Napi::Value freeze(const Napi::CallbackInfo &info);
	Napi::Value pin_at(const Napi::CallbackInfo &info);
	Napi::Value unpin_at(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

	// Whether the kernel has a batch operation for this type of map; learnt from the first
	// call.
	enum class Batch { UNKNOWN, YES, NO };
	struct Chunk {
		uint32_t count;
		bool last;
	};

	int fd(const char *operation) const;
	Bytes key_argument(const Napi::Value &value) const;
	Bytes value_argument(const Napi::Value &value) const;
	Chunk read_chunk(const uint8_t *cursor, uint8_t *next, uint8_t *keys, uint8_t *values,
			 uint32_t max);
	Chunk walk_chunk(const uint8_t *cursor, uint8_t *next, uint8_t *keys, uint8_t *values,
			 uint32_t max);
	size_t cursor_size() const;

	Fd fd_;
	std::string name_;
	uint32_t type_ = 0;
	uint32_t key_size_ = 0;
	uint32_t element_size_ = 0; // of a value as read and written: for all CPUs
	uint32_t max_entries_ = 0;
	Batch batch_lookup_ = Batch::UNKNOWN;
	Batch batch_update_ = Batch::UNKNOWN;
	Batch batch_delete_ = Batch::UNKNOWN;
};
