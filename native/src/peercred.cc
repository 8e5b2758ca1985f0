// peercred.node: what the kernel says of the peer of a connected Unix socket, unix(7).
#include <fcntl.h>
#include <napi.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "system_error.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace {

using agentkeyd::FileDescriptor;
using agentkeyd::SystemError;

constexpr size_t kMaxGroups = 65536;  // NGROUPS_MAX

void RequireUnixSocket(Napi::Env env, int fd) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) throw SystemError(env, "getsockopt");
  // On other sockets SO_PEERCRED succeeds and says nothing.
  if (domain != AF_UNIX) throw SystemError(env, "getsockopt", EAFNOSUPPORT);
}

ucred Credentials(Napi::Env env, int fd) {
  ucred result{};
  socklen_t length = sizeof(result);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &result, &length) != 0) throw SystemError(env, "SO_PEERCRED");
  if (length != sizeof(result) || result.uid == static_cast<uid_t>(-1)) throw SystemError(env, "SO_PEERCRED", ENODATA);
  return result;
}

std::vector<gid_t> Groups(Napi::Env env, int fd) {
  std::vector<gid_t> groups(64);
  for (;;) {
    socklen_t length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0) {
      groups.resize(length / sizeof(gid_t));
      return groups;
    }
    if (errno != ERANGE || length / sizeof(gid_t) > kMaxGroups) throw SystemError(env, "SO_PEERGROUPS");
    groups.resize(length / sizeof(gid_t));
  }
}

// Absent before Linux 6.5, and where the process is no more.
std::optional<int> PidFd(Napi::Env env, int fd) {
  int result = -1;
  socklen_t length = sizeof(result);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &result, &length) == 0) return result;
  if (errno == ENOPROTOOPT || errno == ESRCH || errno == EINVAL || errno == ENODATA) return std::nullopt;
  throw SystemError(env, "SO_PEERPIDFD");
}

// peerCredentials(fd): {uid, gid, pid, groups, pidfd?}. The caller owns the pidfd.
Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = FileDescriptor(info, 0);
  RequireUnixSocket(env, fd);
  const ucred credentials = Credentials(env, fd);
  const std::vector<gid_t> groups = Groups(env, fd);
  Napi::Object result = Napi::Object::New(env);
  result.Set("uid", credentials.uid);
  result.Set("gid", credentials.gid);
  result.Set("pid", credentials.pid);
  Napi::Array list = Napi::Array::New(env, groups.size());
  for (uint32_t i = 0; i < groups.size(); i++) list.Set(i, Napi::Number::New(env, groups[i]));
  result.Set("groups", list);
  const std::optional<int> pidfd = PidFd(env, fd);
  if (pidfd) result.Set("pidfd", *pidfd);
  return result;
}

// isAlive(pidfd): a pidfd is readable once its process has exited, pidfd_open(2).
Napi::Value IsAlive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  pollfd entry{FileDescriptor(info, 0), POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, 0);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) throw SystemError(env, "poll");
  if ((entry.revents & POLLNVAL) != 0) throw SystemError(env, "poll", EBADF);
  return Napi::Boolean::New(env, ready == 0);
}

void Close(const Napi::CallbackInfo& info) {
  if (close(FileDescriptor(info, 0)) != 0 && errno != EINTR) throw SystemError(info.Env(), "close");
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("peerCredentials", Napi::Function::New<PeerCredentials>(env, "peerCredentials"));
  exports.Set("isAlive", Napi::Function::New<IsAlive>(env, "isAlive"));
  exports.Set("close", Napi::Function::New<Close>(env, "close"));
  return exports;
}

}  // namespace

NODE_API_MODULE(peercred, Init)
