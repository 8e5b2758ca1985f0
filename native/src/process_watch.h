// What a process was when the watch began, and what of that no longer holds. Knows nothing of JavaScript.
#pragma once

#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace agentkeyd {

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&&) = delete;
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Which file it is, and in what state: changes with its content.
struct FileIdentity {
  dev_t device;
  ino_t inode;
  off_t size;
  timespec modified;
  timespec changed;
};

// A system call that failed, and its errno.
struct FailedCall {
  const char* call;
  int number;
};

class ProcessWatch {
 public:
  // `pidfd` pins the process; without it what is read by pid may become another's. `folder` is its /proc/PID.
  // Throws FailedCall where the process has ended or can not be seen.
  ProcessWatch(std::optional<OwnedFd> pidfd, const std::string& folder);

  // The file that it runs; nothing where that may not be read.
  const std::optional<FileIdentity>& executable() const { return executable_; }
  // The octets of /proc/PID/cgroup.
  const std::string& cgroup() const { return cgroup_; }

  // The first of "process", "executable" and "cgroup" that is not as it was, asked of the kernel now; null where all
  // hold. What can not be found out does not hold.
  const char* Changed();

 private:
  bool Lives() const;
  bool IsInSameCgroup();

  const std::optional<OwnedFd> pidfd_;
  const std::string link_;
  const std::optional<FileIdentity> executable_;
  // Bound to this process and to none that gets its pid later.
  const OwnedFd cgroup_file_;
  const std::string cgroup_;
  // One octet more than is expected, so that more is seen.
  std::vector<char> reading_;
};

}  // namespace agentkeyd
