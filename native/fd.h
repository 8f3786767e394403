// An owned file descriptor, and what can be asked of any descriptor of a BPF object.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

class Fd
{
      public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd) {}
	~Fd() { reset(); }
	Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
	Fd &operator=(Fd &&other) noexcept
	{
		if (this != &other) {
			reset();
			fd_ = std::exchange(other.fd_, -1);
		}
		return *this;
	}
	Fd(const Fd &) = delete;
	Fd &operator=(const Fd &) = delete;

	int get() const { return fd_; }
	bool open() const { return fd_ >= 0; }
	int release() { return std::exchange(fd_, -1); }
	void reset();

	// A second descriptor of the same object. Throws Failure.
	static Fd duplicate(int fd, const char *operation, const std::string &subject);
	// The same for work on another thread, whatever becomes of the first one meanwhile.
	static std::shared_ptr<Fd> share(int fd, const char *operation, const std::string &subject);

      private:
	int fd_ = -1;
};

// The id under which the kernel lists the object behind `fd`.
// kind: "map", "prog" or "link". Throws Failure EINVAL when it is of another kind.
uint32_t bpf_id(int fd, const char *kind, const char *operation, const std::string &subject);

// Opens a pin, and checks its kind. Throws Failure.
Fd open_pin(const std::string &path, const char *kind);

void pin(int fd, const std::string &path);

// Removes `path` when it is a pin of the object behind `fd`. Throws Failure: EINVAL for another's.
void unpin(int fd, const std::string &path, const char *kind);
