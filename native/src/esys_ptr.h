// Ownership of what tpm2-tss allocates, and wiping of what holds secrets.
#pragma once

#include <string.h>
#include <tss2/tss2_esys.h>

#include <memory>
#include <utility>

namespace agentkeyd {

// Esys_Free, after the content is overwritten: outputs carry credentials and unsealed data.
template <class T>
struct EsysFree {
  void operator()(T* structure) const noexcept {
    explicit_bzero(structure, sizeof(T));
    Esys_Free(structure);
  }
};

// An output parameter of an ESYS function: `Esys_X(..., out.Receive())`, then `*out`.
template <class T>
class Out {
 public:
  Out() = default;
  Out(const Out&) = delete;
  Out& operator=(const Out&) = delete;
  ~Out() {
    if (raw_ != nullptr) EsysFree<T>()(raw_);
  }
  T** Receive() noexcept { return &raw_; }
  const T& operator*() const noexcept { return *raw_; }
  const T* operator->() const noexcept { return raw_; }

 private:
  T* raw_ = nullptr;
};

// A structure that is overwritten when it is given up.
template <class T>
class Wiped {
 public:
  Wiped() : value_(new T()) {}
  T* operator->() const noexcept { return value_.get(); }
  T& operator*() const noexcept { return *value_; }
  T* get() const noexcept { return value_.get(); }

 private:
  struct Wipe {
    void operator()(T* value) const noexcept {
      explicit_bzero(value, sizeof(T));
      delete value;
    }
  };
  std::unique_ptr<T, Wipe> value_;
};

}  // namespace agentkeyd
