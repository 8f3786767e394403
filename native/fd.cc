#include "fd.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "error.h"

void Fd::reset()
{
	if (fd_ >= 0)
		close(fd_);
	fd_ = -1;
}

Fd Fd::duplicate(int fd, const char *operation, const std::string &subject)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		throw Failure(operation, subject, errno);
	return Fd(copy);
}

std::shared_ptr<Fd> Fd::share(int fd, const char *operation, const std::string &subject)
{
	return std::make_shared<Fd>(duplicate(fd, operation, subject));
}

uint32_t bpf_id(int fd, const char *kind, const char *operation, const std::string &subject)
{
	// A query by descriptor answers for any kind; /proc tells them apart.
	char path[64], line[128];
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(path, "re");
	if (!file)
		throw Failure(operation, subject, errno);
	std::string prefix = std::string(kind) + "_id:";
	uint32_t id = 0;
	while (id == 0 && fgets(line, sizeof(line), file)) {
		// A link lists its program too, a map its owner: only the own kind counts.
		if (strcmp(kind, "prog") == 0 && strncmp(line, "link_id:", 8) == 0)
			break;
		if (strncmp(line, prefix.c_str(), prefix.size()) == 0)
			sscanf(line + prefix.size(), "%u", &id);
	}
	fclose(file);
	if (id == 0)
		throw Failure(operation, subject, EINVAL, std::string("not a BPF ") + kind);
	return id;
}

Fd open_pin(const std::string &path, const char *kind)
{
	Fd fd(bpf_obj_get(path.c_str()));
	if (!fd.open())
		throw Failure("openPinned", path, errno);
	bpf_id(fd.get(), kind, "openPinned", path);
	return fd;
}

void pin(int fd, const std::string &path)
{
	if (bpf_obj_pin(fd, path.c_str()))
		throw Failure("pin", path, errno);
}

void unpin(int fd, const std::string &path, const char *kind)
{
	Fd pinned(bpf_obj_get(path.c_str()));
	if (!pinned.open())
		throw Failure("unpin", path, errno);
	if (bpf_id(pinned.get(), kind, "unpin", path) != bpf_id(fd, kind, "unpin", path))
		throw Failure("unpin", path, EINVAL, "the path is a pin of another object");
	if (unlink(path.c_str()))
		throw Failure("unpin", path, errno);
}
