#include "map.h"

#include <algorithm>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <limits>

// Elements in one batch call: beyond it the calls cost nothing any more, and the kernel holds
// the CPU for longer.
static constexpr uint32_t BATCH = 1000;
// The kernel's own errno, not in errno.h: the operation is missing for this type of map.
static constexpr int ENOTSUPP = 524;

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

static bool is_unsupported(int error)
{
	return error == EINVAL || error == EOPNOTSUPP || error == ENOTSUPP || error == ENOTSUP;
}

void Map::init(Napi::Env env, Napi::Object exports)
{
	exports.Set("Map", DefineClass(env, "Map",
				       {
					       method<&Map::details>("details"),
					       method<&Map::lookup>("lookup"),
					       method<&Map::update>("update"),
					       method<&Map::remove>("remove"),
					       method<&Map::next_key>("nextKey"),
					       method<&Map::lookup_batch>("lookupBatch"),
					       method<&Map::update_many>("updateMany"),
					       method<&Map::delete_many>("deleteMany"),
					       method<&Map::count>("count"),
					       method<&Map::freeze>("freeze"),
					       method<&Map::pin_at>("pin"),
					       method<&Map::unpin_at>("unpin"),
					       method<&Map::close>("close"),
				       }));
}

static Fd create_map(const Napi::Object &wanted)
{
	std::string name = read_string(wanted.Get("name"), "name");
	uint32_t type = read_u32(wanted.Get("type"), "type");
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	opts.map_flags = read_u32(wanted.Get("flags"), "flags");
	Fd fd(bpf_map_create(static_cast<enum bpf_map_type>(type), name.c_str(),
			     read_u32(wanted.Get("keySize"), "keySize"),
			     read_u32(wanted.Get("valueSize"), "valueSize"),
			     read_u32(wanted.Get("maxEntries"), "maxEntries"), &opts));
	if (!fd.open())
		throw Failure("create", name, errno);
	return fd;
}

// new Map(source): a descriptor (it is duplicated), a pin's path, or a definition to create.
Map::Map(const Napi::CallbackInfo &info) : Wrap(info)
{
	try {
		if (info[0].IsString()) {
			name_ = read_string(info[0], "path");
			fd_ = open_pin(name_, "map");
		} else if (info[0].IsNumber()) {
			fd_ = Fd::duplicate(read_fd(info[0], "fd"), "open", "map");
			bpf_id(fd_.get(), "map", "open", "map");
		} else {
			fd_ = create_map(read_object(info[0], "map"));
		}
		struct bpf_map_info details = {};
		__u32 size = sizeof(details);
		if (bpf_obj_get_info_by_fd(fd_.get(), &details, &size))
			throw Failure("open", name_, errno);
		name_ = details.name;
		type_ = details.type;
		key_size_ = details.key_size;
		element_size_ = details.value_size;
		max_entries_ = details.max_entries;
		if (is_per_cpu(type_)) {
			int cpus = libbpf_num_possible_cpus();
			if (cpus < 0)
				throw Failure("open", name_, -cpus);
			element_size_ = (details.value_size + 7) / 8 * 8 * cpus;
		}
	} catch (const Failure &failure) {
		throw to_js(info.Env(), failure);
	}
}

int Map::fd(const char *operation) const
{
	if (!fd_.open())
		throw Failure(operation, name_, EBADF, "the map is closed");
	return fd_.get();
}

Bytes Map::key_argument(const Napi::Value &value) const
{
	Bytes key = read_bytes(value, "key", key_size_);
	// A map without keys (a queue) demands a null pointer.
	return {key_size_ ? key.data : nullptr, key.size};
}

Bytes Map::value_argument(const Napi::Value &value) const
{
	return read_bytes(value, "value", element_size_);
}

// details(): what the kernel says of the map, now.
Napi::Value Map::details(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	struct bpf_map_info details = {};
	__u32 size = sizeof(details);
	if (bpf_obj_get_info_by_fd(fd("details"), &details, &size))
		throw Failure("details", name_, errno);
	Napi::Object item = Napi::Object::New(env);
	item["fd"] = Napi::Number::New(env, fd_.get());
	item["id"] = Napi::Number::New(env, details.id);
	item["name"] = Napi::String::New(env, details.name);
	item["type"] = Napi::Number::New(env, details.type);
	item["keySize"] = Napi::Number::New(env, details.key_size);
	item["valueSize"] = Napi::Number::New(env, details.value_size);
	item["elementSize"] = Napi::Number::New(env, element_size_);
	item["maxEntries"] = Napi::Number::New(env, details.max_entries);
	item["flags"] = Napi::Number::New(env, details.map_flags);
	item["btfId"] = Napi::Number::New(env, details.btf_id);
	item["keyTypeId"] = Napi::Number::New(env, details.btf_key_type_id);
	item["valueTypeId"] = Napi::Number::New(env, details.btf_value_type_id);
	return item;
}

// lookup(key, into): true when found; `into` is then the value.
Napi::Value Map::lookup(const Napi::CallbackInfo &info)
{
	int map = fd("get");
	Bytes key = key_argument(info[0]);
	Bytes into = value_argument(info[1]);
	if (bpf_map_lookup_elem(map, key.data, into.data) == 0)
		return Napi::Boolean::New(info.Env(), true);
	if (errno != ENOENT)
		throw Failure("get", name_, errno);
	return Napi::Boolean::New(info.Env(), false);
}

// update(key, value, flags): create or replace one element.
Napi::Value Map::update(const Napi::CallbackInfo &info)
{
	int map = fd("set");
	Bytes key = key_argument(info[0]);
	Bytes value = value_argument(info[1]);
	uint32_t flags = read_u32(info[2], "flags");
	if (bpf_map_update_elem(map, key.data, value.data, flags))
		throw Failure("set", name_, errno);
	return info.Env().Undefined();
}

// remove(key): false when there was none.
Napi::Value Map::remove(const Napi::CallbackInfo &info)
{
	int map = fd("delete");
	Bytes key = key_argument(info[0]);
	if (bpf_map_delete_elem(map, key.data) == 0)
		return Napi::Boolean::New(info.Env(), true);
	if (errno != ENOENT)
		throw Failure("delete", name_, errno);
	return Napi::Boolean::New(info.Env(), false);
}

// nextKey(key | undefined, into): false at the end. An absent key starts over.
Napi::Value Map::next_key(const Napi::CallbackInfo &info)
{
	int map = fd("nextKey");
	const uint8_t *key = info[0].IsUndefined() ? nullptr : key_argument(info[0]).data;
	Bytes into = read_bytes(info[1], "into", key_size_);
	if (bpf_map_get_next_key(map, key, into.data) == 0)
		return Napi::Boolean::New(info.Env(), true);
	if (errno != ENOENT)
		throw Failure("nextKey", name_, errno);
	return Napi::Boolean::New(info.Env(), false);
}

// A hash map's cursor is a bucket number; other maps' is a key.
size_t Map::cursor_size() const
{
	return std::max<size_t>(key_size_, 8);
}

Map::Chunk Map::walk_chunk(const uint8_t *cursor, uint8_t *next, uint8_t *keys, uint8_t *values,
			   uint32_t max)
{
	const uint8_t *previous = cursor;
	std::vector<uint8_t> from(key_size_);
	uint32_t count = 0;
	// An element that goes away under the walk is skipped; one that the cursor stands on makes
	// the kernel start over, hence a bound on the steps.
	for (uint32_t step = 0; count < max && step < max * 2; step++) {
		uint8_t *key = keys + static_cast<size_t>(count) * key_size_;
		if (previous)
			std::copy(previous, previous + key_size_, from.begin());
		if (bpf_map_get_next_key(fd_.get(), previous ? from.data() : nullptr, key)) {
			if (errno == ENOENT)
				return {count, true};
			throw Failure("entries", name_, errno);
		}
		memcpy(next, key, key_size_);
		previous = next;
		uint8_t *value = values + static_cast<size_t>(count) * element_size_;
		if (bpf_map_lookup_elem(fd_.get(), key, value) == 0)
			count++;
		else if (errno != ENOENT)
			throw Failure("entries", name_, errno);
	}
	return {count, false};
}

Map::Chunk Map::read_chunk(const uint8_t *cursor, uint8_t *next, uint8_t *keys, uint8_t *values,
			   uint32_t max)
{
	if (batch_lookup_ == Batch::NO)
		return walk_chunk(cursor, next, keys, values, max);
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 count = max;
	int error = 0;
	if (bpf_map_lookup_batch(fd_.get(), const_cast<uint8_t *>(cursor), next, keys, values,
				 &count, &opts))
		error = errno;
	if (error == 0 || error == ENOENT) {
		batch_lookup_ = Batch::YES;
		return {std::min<uint32_t>(count, max), error == ENOENT};
	}
	if (batch_lookup_ == Batch::UNKNOWN && is_unsupported(error)) {
		batch_lookup_ = Batch::NO;
		return walk_chunk(cursor, next, keys, values, max);
	}
	throw Failure("entries", name_, error);
}

// lookupBatch(cursor | undefined, next, keys, values, max): fills keys and values, and `next` (of
// cursorSize bytes). Returns the number read, negative minus one (-1 - n) for the last chunk.
// ENOSPC: `max` is smaller than one bucket of a hash map.
Napi::Value Map::lookup_batch(const Napi::CallbackInfo &info)
{
	fd("entries");
	const uint8_t *cursor =
		info[0].IsUndefined() ? nullptr : read_bytes(info[0], "cursor", cursor_size()).data;
	Bytes next = read_bytes(info[1], "next", cursor_size());
	uint32_t max = read_u32(info[4], "max", 1u << 24);
	Bytes keys = read_bytes(info[2], "keys", static_cast<size_t>(max) * key_size_);
	Bytes values = read_bytes(info[3], "values", static_cast<size_t>(max) * element_size_);
	if (max == 0)
		throw Napi::RangeError::New(info.Env(), "max: 0");
	Chunk chunk = read_chunk(cursor, next.data, keys.data, values.data, max);
	double result = chunk.last ? -1.0 - chunk.count : chunk.count;
	return Napi::Number::New(info.Env(), result);
}

// updateMany(keys, values, count, flags): all elements in order; stops at the first that fails.
Napi::Value Map::update_many(const Napi::CallbackInfo &info)
{
	int map = fd("setMany");
	uint32_t count = read_u32(info[2], "count", 1u << 24);
	Bytes keys = read_bytes(info[0], "keys", static_cast<size_t>(count) * key_size_);
	Bytes values = read_bytes(info[1], "values", static_cast<size_t>(count) * element_size_);
	uint32_t flags = read_u32(info[3], "flags");
	uint32_t done = 0;
	while (done < count) {
		const uint8_t *key = keys.data + static_cast<size_t>(done) * key_size_;
		const uint8_t *value = values.data + static_cast<size_t>(done) * element_size_;
		if (batch_update_ == Batch::NO) {
			if (bpf_map_update_elem(map, key, value, flags))
				throw Failure("setMany", name_, errno,
					      "after " + std::to_string(done) + " elements");
			done++;
			continue;
		}
		LIBBPF_OPTS(bpf_map_batch_opts, opts);
		opts.elem_flags = flags;
		__u32 part = std::min(count - done, BATCH);
		__u32 asked = part;
		if (bpf_map_update_batch(map, key, value, &part, &opts) == 0) {
			batch_update_ = Batch::YES;
			done += part;
		} else if (batch_update_ == Batch::UNKNOWN && is_unsupported(errno)) {
			batch_update_ = Batch::NO;
		} else {
			int error = errno;
			done += part < asked ? part : 0;
			throw Failure("setMany", name_, error,
				      "after " + std::to_string(done) + " elements");
		}
	}
	return Napi::Number::New(info.Env(), done);
}

// deleteMany(keys, count): how many were there.
Napi::Value Map::delete_many(const Napi::CallbackInfo &info)
{
	int map = fd("deleteMany");
	uint32_t count = read_u32(info[1], "count", 1u << 24);
	Bytes keys = read_bytes(info[0], "keys", static_cast<size_t>(count) * key_size_);
	uint32_t done = 0, removed = 0;
	while (done < count) {
		const uint8_t *key = keys.data + static_cast<size_t>(done) * key_size_;
		if (batch_delete_ == Batch::NO) {
			if (bpf_map_delete_elem(map, key) == 0)
				removed++;
			else if (errno != ENOENT)
				throw Failure("deleteMany", name_, errno);
			done++;
			continue;
		}
		LIBBPF_OPTS(bpf_map_batch_opts, opts);
		__u32 part = std::min(count - done, BATCH);
		__u32 asked = part;
		if (bpf_map_delete_batch(map, key, &part, &opts) == 0) {
			batch_delete_ = Batch::YES;
			done += asked;
			removed += part;
		} else if (errno == ENOENT && part < asked) {
			// The kernel stops at the first absent key: go on behind it.
			batch_delete_ = Batch::YES;
			done += part + 1;
			removed += part;
		} else if (batch_delete_ == Batch::UNKNOWN &&
			   (is_unsupported(errno) || errno == ENOENT)) {
			batch_delete_ = Batch::NO;
		} else {
			throw Failure("deleteMany", name_, errno);
		}
	}
	return Napi::Number::New(info.Env(), removed);
}

// count(): elements now. Walks; an array is full by nature.
Napi::Value Map::count(const Napi::CallbackInfo &info)
{
	fd("count");
	if (type_ == BPF_MAP_TYPE_ARRAY || type_ == BPF_MAP_TYPE_PERCPU_ARRAY)
		return Napi::Number::New(info.Env(), max_entries_);
	size_t row = std::max<size_t>(static_cast<size_t>(key_size_) + element_size_, 1);
	uint32_t max = static_cast<uint32_t>(std::clamp<size_t>((1 << 20) / row, 16, 4096));
	std::vector<uint8_t> keys, values, cursor(cursor_size()), next(cursor_size());
	uint64_t total = 0;
	const uint8_t *from = nullptr;
	// A map that is filled faster than it is walked must not hold the caller for ever.
	uint64_t bound = 4ull * max_entries_ + 4096;
	while (total < bound) {
		keys.resize(static_cast<size_t>(max) * key_size_);
		values.resize(static_cast<size_t>(max) * element_size_);
		Chunk chunk;
		try {
			chunk = read_chunk(from, next.data(), keys.data(), values.data(), max);
		} catch (const Failure &failure) {
			if (failure.error != ENOSPC || max >= 1u << 22)
				throw;
			max *= 4;
			continue;
		}
		total += chunk.count;
		if (chunk.last)
			break;
		cursor.swap(next);
		from = cursor.data();
	}
	return Napi::Number::New(info.Env(), static_cast<double>(total));
}

// freeze(): no more writes from user space.
Napi::Value Map::freeze(const Napi::CallbackInfo &info)
{
	if (bpf_map_freeze(fd("freeze")))
		throw Failure("freeze", name_, errno);
	return info.Env().Undefined();
}

Napi::Value Map::pin_at(const Napi::CallbackInfo &info)
{
	pin(fd("pin"), read_string(info[0], "path"));
	return info.Env().Undefined();
}

Napi::Value Map::unpin_at(const Napi::CallbackInfo &info)
{
	unpin(fd("unpin"), read_string(info[0], "path"), "map");
	return info.Env().Undefined();
}

Napi::Value Map::close(const Napi::CallbackInfo &info)
{
	fd_.reset();
	return info.Env().Undefined();
}
