#include "object.h"

#include <bpf/btf.h>
#include <cerrno>

#include "args.h"
#include "async.h"

void BpfObject::init(Napi::Env env, Napi::Object exports)
{
	using O = BpfObject;
	exports.Set("BpfObject",
		    DefineClass(env, "BpfObject",
				{
					method<&O::maps>("maps"),
					method<&O::programs>("programs"),
					method<&O::btf>("btf"),
					method<&O::initial_value>("initialValue"),
					method<&O::set_initial_value>("setInitialValue"),
					method<&O::resize>("resize"),
					method<&O::reuse>("reuse"),
					method<&O::set_attach_type>("setAttachType"),
					method<&O::set_autoload>("setAutoload"),
					method<&O::load>("load"),
					method<&O::load_async>("loadAsync"),
					method<&O::map_fd>("mapFd"),
					method<&O::program_fd>("programFd"),
					method<&O::close>("close"),
				}));
}

// new BpfObject(path, name?, pinRoot?). Throws BpfError.
BpfObject::BpfObject(const Napi::CallbackInfo &info) : Wrap(info)
{
	path_ = read_string(info[0], "path");
	auto name = read_optional_string(info[1], "name");
	auto pin_root = read_optional_string(info[2], "pinRoot");
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	opts.object_name = name ? name->c_str() : nullptr;
	opts.pin_root_path = pin_root ? pin_root->c_str() : nullptr;
	LogCapture log;
	object_ = bpf_object__open_file(path_.c_str(), &opts);
	if (!object_)
		throw to_js(info.Env(), Failure("open", path_, errno, log.text()));
}

BpfObject::~BpfObject()
{
	if (object_)
		bpf_object__close(object_);
}

struct bpf_object *BpfObject::opened(const char *operation)
{
	if (!object_ || closing_)
		throw Failure(operation, path_, EBADF, "the object is closed");
	if (busy_)
		throw Failure(operation, path_, EBUSY, "the object is being loaded");
	return object_;
}

struct bpf_object *BpfObject::unloaded(const char *operation)
{
	opened(operation);
	if (loaded_)
		throw Failure(operation, path_, EBUSY, "the object is loaded already");
	return object_;
}

struct bpf_map *BpfObject::find_map(const Napi::Value &name, const char *operation)
{
	std::string text = read_string(name, "map");
	struct bpf_map *map = bpf_object__find_map_by_name(opened(operation), text.c_str());
	if (!map)
		throw Napi::RangeError::New(name.Env(), "map: " + path_ + " has no " + text);
	return map;
}

struct bpf_program *BpfObject::find_program(const Napi::Value &name, const char *operation)
{
	std::string text = read_string(name, "program");
	struct bpf_program *program =
		bpf_object__find_program_by_name(opened(operation), text.c_str());
	if (!program)
		throw Napi::RangeError::New(name.Env(), "program: " + path_ + " has no " + text);
	return program;
}

// maps(): definitions, in the file's order.
Napi::Value BpfObject::maps(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	opened("maps");
	Napi::Array list = Napi::Array::New(env);
	struct bpf_map *map;
	bpf_object__for_each_map(map, object_)
	{
		Napi::Object item = Napi::Object::New(env);
		item["name"] = Napi::String::New(env, bpf_map__name(map));
		item["internal"] = Napi::Boolean::New(env, bpf_map__is_internal(map));
		item["type"] = Napi::Number::New(env, bpf_map__type(map));
		item["keySize"] = Napi::Number::New(env, bpf_map__key_size(map));
		item["valueSize"] = Napi::Number::New(env, bpf_map__value_size(map));
		item["maxEntries"] = Napi::Number::New(env, bpf_map__max_entries(map));
		item["flags"] = Napi::Number::New(env, bpf_map__map_flags(map));
		item["keyTypeId"] = Napi::Number::New(env, bpf_map__btf_key_type_id(map));
		item["valueTypeId"] = Napi::Number::New(env, bpf_map__btf_value_type_id(map));
		list.Set(list.Length(), item);
	}
	return list;
}

// programs(): in the file's order.
Napi::Value BpfObject::programs(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	opened("programs");
	Napi::Array list = Napi::Array::New(env);
	struct bpf_program *program;
	bpf_object__for_each_program(program, object_)
	{
		Napi::Object item = Napi::Object::New(env);
		item["name"] = Napi::String::New(env, bpf_program__name(program));
		item["section"] = Napi::String::New(env, bpf_program__section_name(program));
		item["type"] = Napi::Number::New(env, bpf_program__type(program));
		item["autoload"] = Napi::Boolean::New(env, bpf_program__autoload(program));
		list.Set(list.Length(), item);
	}
	return list;
}

// btf(): a copy of the object's type data, or undefined.
Napi::Value BpfObject::btf(const Napi::CallbackInfo &info)
{
	struct btf *btf = bpf_object__btf(opened("btf"));
	if (!btf)
		return info.Env().Undefined();
	__u32 size = 0;
	const void *data = btf__raw_data(btf, &size);
	if (!data)
		throw Failure("btf", path_, ENOMEM);
	return Napi::Buffer<uint8_t>::Copy(info.Env(), static_cast<const uint8_t *>(data), size);
}

// initialValue(map): a copy of a section's contents, or undefined for other maps.
Napi::Value BpfObject::initial_value(const Napi::CallbackInfo &info)
{
	struct bpf_map *map = find_map(info[0], "initialValue");
	size_t size = 0;
	const void *data = bpf_map__initial_value(map, &size);
	if (!data)
		return info.Env().Undefined();
	return Napi::Buffer<uint8_t>::Copy(info.Env(), static_cast<const uint8_t *>(data), size);
}

// setInitialValue(map, bytes): replaces a section's contents; exactly its size; before load.
Napi::Value BpfObject::set_initial_value(const Napi::CallbackInfo &info)
{
	unloaded("setInitialValue");
	struct bpf_map *map = find_map(info[0], "setInitialValue");
	Bytes bytes = read_bytes(info[1], "value", bpf_map__value_size(map));
	int error = bpf_map__set_initial_value(map, bytes.data, bytes.size);
	if (error)
		throw Failure("setInitialValue", bpf_map__name(map), -error);
	return info.Env().Undefined();
}

// resize(map, maxEntries): before load.
Napi::Value BpfObject::resize(const Napi::CallbackInfo &info)
{
	unloaded("resize");
	struct bpf_map *map = find_map(info[0], "resize");
	uint32_t entries = read_u32(info[1], "maxEntries");
	if (entries == 0)
		throw Napi::RangeError::New(info.Env(), "maxEntries: 0");
	int error = bpf_map__set_max_entries(map, entries);
	if (error)
		throw Failure("resize", bpf_map__name(map), -error);
	return info.Env().Undefined();
}

// reuse(map, fd): use an existing map; the caller has compared the layouts. Before load.
Napi::Value BpfObject::reuse(const Napi::CallbackInfo &info)
{
	unloaded("reuse");
	struct bpf_map *map = find_map(info[0], "reuse");
	int fd = read_fd(info[1], "fd");
	LogCapture log;
	int error = bpf_map__reuse_fd(map, fd);
	if (error)
		throw Failure("reuse", bpf_map__name(map), -error, log.text());
	return info.Env().Undefined();
}

// setAttachType(program, type): enum bpf_attach_type; before load.
Napi::Value BpfObject::set_attach_type(const Napi::CallbackInfo &info)
{
	unloaded("setAttachType");
	struct bpf_program *program = find_program(info[0], "setAttachType");
	uint32_t type = read_u32(info[1], "type", 1024);
	int error = bpf_program__set_expected_attach_type(program,
							  static_cast<enum bpf_attach_type>(type));
	if (error)
		throw Failure("setAttachType", bpf_program__name(program), -error);
	return info.Env().Undefined();
}

// setAutoload(program, on): before load.
Napi::Value BpfObject::set_autoload(const Napi::CallbackInfo &info)
{
	unloaded("autoload");
	struct bpf_program *program = find_program(info[0], "autoload");
	int error = bpf_program__set_autoload(program, read_bool(info[1], "on"));
	if (error)
		throw Failure("autoload", bpf_program__name(program), -error);
	return info.Env().Undefined();
}

// load(): throws BpfError with libbpf's and the verifier's log.
Napi::Value BpfObject::load(const Napi::CallbackInfo &info)
{
	unloaded("load");
	LogCapture log;
	// A failed load leaves an object that libbpf refuses to load again.
	loaded_ = true;
	int error = bpf_object__load(object_);
	if (error)
		throw Failure("load", path_, -error, log.text());
	return info.Env().Undefined();
}

// loadAsync(): the same on the pool. Until it settles all other methods throw EBUSY, and close()
// waits for it.
Napi::Value BpfObject::load_async(const Napi::CallbackInfo &info)
{
	struct Outcome {
		int error;
		std::string log;
	};
	struct bpf_object *object = unloaded("load");
	loaded_ = busy_ = true;
	Ref();
	return Task<Outcome>::start(
		info.Env(),
		[object] {
			LogCapture log;
			int error = bpf_object__load(object);
			return Outcome{error, log.text()};
		},
		[this](Napi::Env env, Outcome &outcome) -> Napi::Value {
			[[maybe_unused]] Napi::Object alive = Value();
			busy_ = false;
			Unref();
			if (closing_) {
				bpf_object__close(object_);
				object_ = nullptr;
				throw Failure("load", path_, EBADF, "closed meanwhile");
			}
			if (outcome.error)
				throw Failure("load", path_, -outcome.error, outcome.log);
			return env.Undefined();
		});
}

// mapFd(name): owned by the object; duplicate it to keep it.
Napi::Value BpfObject::map_fd(const Napi::CallbackInfo &info)
{
	struct bpf_map *map = find_map(info[0], "map");
	int fd = bpf_map__fd(map);
	if (fd < 0)
		throw Failure("map", bpf_map__name(map), EBADF, "the object is not loaded");
	return Napi::Number::New(info.Env(), fd);
}

// programFd(name): owned by the object; -1 when the program was not loaded.
Napi::Value BpfObject::program_fd(const Napi::CallbackInfo &info)
{
	struct bpf_program *program = find_program(info[0], "program");
	int fd = bpf_program__fd(program);
	return Napi::Number::New(info.Env(), fd < 0 ? -1 : fd);
}

Napi::Value BpfObject::close(const Napi::CallbackInfo &info)
{
	closing_ = true;
	if (object_ && !busy_) {
		bpf_object__close(object_);
		object_ = nullptr;
	}
	return info.Env().Undefined();
}
