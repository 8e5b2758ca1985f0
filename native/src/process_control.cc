// process_control.node: what a service asks of the kernel for itself.
#include <fcntl.h>
#include <features.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <napi.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "system_error.h"

namespace {

using agentkeyd::FileDescriptor;
using agentkeyd::SystemError;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const noexcept { return fd_; }

 private:
  const int fd_;
};

std::string Text(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsString()) throw Napi::TypeError::New(info.Env(), "expected a string");
  return info[index].As<Napi::String>();
}

// notify(address, state): one datagram, sd_notify(3). An address that starts with '@' is abstract.
void Notify(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string address = Text(info, 0);
  const std::string state = Text(info, 1);
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  const bool is_valid = address.size() > 1 && (address[0] == '/' || address[0] == '@') &&
                        address.size() < sizeof(target.sun_path) && address.find('\0') == std::string::npos;
  if (!is_valid) throw SystemError(env, "sendto", EINVAL);
  address.copy(target.sun_path, address.size());
  if (target.sun_path[0] == '@') target.sun_path[0] = '\0';
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  const Socket socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) throw SystemError(env, "socket");
  ssize_t sent;
  do {
    sent = sendto(socket.fd(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&target),
                  length);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) throw SystemError(env, "sendto");
  if (static_cast<size_t>(sent) != state.size()) throw SystemError(env, "sendto", EMSGSIZE);
}

// harden(): no core file, and no ptrace or /proc/PID/mem by other processes of this user.
void Harden(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) throw SystemError(env, "setrlimit");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) throw SystemError(env, "prctl");
}

// claimListeningSocket(fd): keeps an inherited socket from children. False if it does not listen.
Napi::Value ClaimListeningSocket(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = FileDescriptor(info, 0);
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0) throw SystemError(env, "fcntl");
  int listens = 0;
  socklen_t length = sizeof(listens);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) throw SystemError(env, "getsockopt");
  return Napi::Boolean::New(env, listens != 0);
}

// trimMemory(): malloc_trim(3), freed pages of all arenas back to the kernel. Nothing where libc has no such call.
void TrimMemory(const Napi::CallbackInfo&) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("notify", Napi::Function::New<Notify>(env, "notify"));
  exports.Set("harden", Napi::Function::New<Harden>(env, "harden"));
  exports.Set("claimListeningSocket", Napi::Function::New<ClaimListeningSocket>(env, "claimListeningSocket"));
  exports.Set("trimMemory", Napi::Function::New<TrimMemory>(env, "trimMemory"));
  return exports;
}

}  // namespace

NODE_API_MODULE(process_control, Init)
