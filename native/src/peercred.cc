// peercred.node: what the kernel says of the peer of a connected Unix socket, unix(7), and whether it still holds.
#include <napi.h>
#include <sys/socket.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process_watch.h"
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

// peerCredentials(fd): {uid, gid, pid, groups, pidfd?}. The caller owns the pidfd until a WatchedProcess has it.
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

Napi::BigInt Nanoseconds(Napi::Env env, const timespec& time) {
  const __int128 value = static_cast<__int128>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  const unsigned __int128 magnitude = value < 0 ? -value : value;
  const uint64_t words[] = {static_cast<uint64_t>(magnitude), static_cast<uint64_t>(magnitude >> 64)};
  return Napi::BigInt::New(env, value < 0 ? 1 : 0, 2, words);
}

// new WatchedProcess(pidfd or undefined, "/proc/PID"). Takes the pidfd over, also where it throws for the process.
class WatchedProcess : public Napi::ObjectWrap<WatchedProcess> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "WatchedProcess",
                       {InstanceAccessor<&WatchedProcess::Executable>("executable"),
                        InstanceAccessor<&WatchedProcess::Cgroup>("cgroup"),
                        InstanceMethod<&WatchedProcess::Changed>("changed"),
                        InstanceMethod<&WatchedProcess::Close>("close")});
  }

  explicit WatchedProcess(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    std::optional<agentkeyd::OwnedFd> pidfd;
    if (!info[0].IsUndefined()) pidfd.emplace(FileDescriptor(info, 0));
    if (!info[1].IsString()) throw Napi::TypeError::New(info.Env(), "expected a folder");
    try {
      watch_.emplace(std::move(pidfd), info[1].As<Napi::String>().Utf8Value());
    } catch (const agentkeyd::FailedCall& failed) {
      throw SystemError(info.Env(), failed.call, failed.number);
    }
  }

 private:
  // {dev, ino, size, mtimeNs, ctimeNs} of the file that it runs, as fs.BigIntStats has them; undefined where unknown.
  Napi::Value Executable(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!watch_ || !watch_->executable()) return env.Undefined();
    const agentkeyd::FileIdentity& file = *watch_->executable();
    Napi::Object result = Napi::Object::New(env);
    result.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(file.device)));
    result.Set("ino", Napi::BigInt::New(env, static_cast<uint64_t>(file.inode)));
    result.Set("size", Napi::BigInt::New(env, static_cast<int64_t>(file.size)));
    result.Set("mtimeNs", Nanoseconds(env, file.modified));
    result.Set("ctimeNs", Nanoseconds(env, file.changed));
    return result;
  }

  // Octets as characters; a cgroup's name need not be UTF-8.
  Napi::Value Cgroup(const Napi::CallbackInfo& info) {
    const std::string octets = watch_ ? watch_->cgroup() : std::string();
    napi_value result;
    if (napi_create_string_latin1(info.Env(), octets.data(), octets.size(), &result) != napi_ok) {
      throw Napi::Error::New(info.Env());
    }
    return Napi::Value(info.Env(), result);
  }

  // undefined where all holds, else what does not. What is closed is not known to be anything.
  Napi::Value Changed(const Napi::CallbackInfo& info) {
    const char* fact = watch_ ? watch_->Changed() : "process";
    return fact == nullptr ? info.Env().Undefined() : Napi::String::New(info.Env(), fact);
  }

  void Close(const Napi::CallbackInfo&) { watch_.reset(); }

  std::optional<agentkeyd::ProcessWatch> watch_;
};

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("peerCredentials", Napi::Function::New<PeerCredentials>(env, "peerCredentials"));
  exports.Set("WatchedProcess", WatchedProcess::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(peercred, Init)
