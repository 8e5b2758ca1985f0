// A TSS2 response code on its way to JavaScript, where it becomes {rc, call}.
#pragma once

#include <tss2/tss2_common.h>

#include <exception>

namespace agentkeyd {

// `call` is a string literal: the C function that returned `rc`.
class TssError : public std::exception {
 public:
  TssError(TSS2_RC rc, const char* call) noexcept : rc_(rc), call_(call) {}
  TSS2_RC rc() const noexcept { return rc_; }
  const char* call() const noexcept { return call_; }
  const char* what() const noexcept override { return call_; }

 private:
  TSS2_RC rc_;
  const char* call_;
};

inline void Check(TSS2_RC rc, const char* call) {
  if (rc != TSS2_RC_SUCCESS) throw TssError(rc, call);
}

}  // namespace agentkeyd
