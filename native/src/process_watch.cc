#include "process_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include <tuple>

namespace agentkeyd {

namespace {

constexpr size_t kFirstReading = 4096;

auto Fields(const FileIdentity& file) {
  return std::make_tuple(file.device, file.inode, file.size, file.modified.tv_sec, file.modified.tv_nsec,
                         file.changed.tv_sec, file.changed.tv_nsec);
}

bool operator==(const FileIdentity& one, const FileIdentity& other) { return Fields(one) == Fields(other); }

// Of the file that the link leads to; nothing where we may not look (CAP_SYS_PTRACE).
std::optional<FileIdentity> Identity(const std::string& link) {
  struct stat found;
  if (stat(link.c_str(), &found) != 0) return std::nullopt;
  return FileIdentity{found.st_dev, found.st_ino, found.st_size, found.st_mtim, found.st_ctim};
}

bool IsSame(const std::optional<FileIdentity>& now, const std::optional<FileIdentity>& before) {
  return now && before ? *now == *before : now.has_value() == before.has_value();
}

ssize_t ReadFromStart(int fd, char* into, size_t size) {
  ssize_t octets;
  do {
    octets = pread(fd, into, size, 0);
  } while (octets < 0 && errno == EINTR);
  return octets;
}

int Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw FailedCall{"open", errno};
  return fd;
}

// In one reading, so that it is of one moment.
std::string ReadWhole(int fd) {
  std::string text(kFirstReading, '\0');
  for (;;) {
    const ssize_t octets = ReadFromStart(fd, text.data(), text.size());
    if (octets < 0) throw FailedCall{"pread", errno};
    if (static_cast<size_t>(octets) < text.size()) {
      text.resize(octets);
      return text;
    }
    text.resize(text.size() * 2);
  }
}

}  // namespace

ProcessWatch::ProcessWatch(std::optional<OwnedFd> pidfd, const std::string& folder)
    : pidfd_(std::move(pidfd)),
      link_(folder + "/exe"),
      executable_(Identity(link_)),
      cgroup_file_(Open(folder + "/cgroup")),
      cgroup_(ReadWhole(cgroup_file_.get())),
      reading_(cgroup_.size() + 1) {}

const char* ProcessWatch::Changed() {
  if (pidfd_ && !Lives()) return "process";
  if (!IsSame(Identity(link_), executable_)) return "executable";
  return IsInSameCgroup() ? nullptr : "cgroup";
}

// A pidfd is readable once its process has exited, pidfd_open(2).
bool ProcessWatch::Lives() const {
  pollfd entry{pidfd_->get(), POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, 0);
  } while (ready < 0 && errno == EINTR);
  return ready == 0;
}

bool ProcessWatch::IsInSameCgroup() {
  const ssize_t octets = ReadFromStart(cgroup_file_.get(), reading_.data(), reading_.size());
  return octets >= 0 && static_cast<size_t>(octets) == cgroup_.size() &&
         memcmp(reading_.data(), cgroup_.data(), cgroup_.size()) == 0;
}

}  // namespace agentkeyd
