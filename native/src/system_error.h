// A failed system call as a JavaScript error: {code: 'ECONNREFUSED', errno, syscall}.
#pragma once

#include <errno.h>
#include <napi.h>
#include <string.h>

namespace agentkeyd {

inline Napi::Error SystemError(Napi::Env env, const char* syscall, int number = errno) {
  const char* name = strerrorname_np(number);
  Napi::Error error = Napi::Error::New(env, std::string(syscall) + ": " + strerrordesc_np(number));
  Napi::Object value = error.Value().As<Napi::Object>();
  value.Set("code", name == nullptr ? "UNKNOWN" : name);
  value.Set("errno", number);
  value.Set("syscall", syscall);
  return error;
}

// The file descriptor that is argument `index`. Throws Napi::TypeError.
inline int FileDescriptor(const Napi::CallbackInfo& info, size_t index) {
  const Napi::Value value = info[index];
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= 0x7fffffff) || number != static_cast<int>(number)) {
    throw Napi::TypeError::New(info.Env(), "expected a file descriptor");
  }
  return static_cast<int>(number);
}

}  // namespace agentkeyd
