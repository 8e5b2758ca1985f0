// One TCTI and one ESYS context, and the resources that were made in it. Used on one thread only.
#pragma once

#include <tss2/tss2_esys.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "handle_table.h"
#include "octets.h"
#include "tss_error.h"

namespace agentkeyd {

// One place of a command's three: `id` absent means `fallback` (ESYS_TR_PASSWORD or ESYS_TR_NONE).
struct SessionUse {
  std::optional<HandleId> id;
  std::optional<TPMA_SESSION> attributes;
  ESYS_TR fallback = ESYS_TR_NONE;
};

using Sessions = std::array<SessionUse, 3>;

class EsysContext {
 public:
  explicit EsysContext(std::string tcti) : tcti_config_(std::move(tcti)) {}
  EsysContext(const EsysContext&) = delete;
  EsysContext& operator=(const EsysContext&) = delete;
  ~EsysContext() { Close(); }

  // Tss2_TctiLdr_Initialize and Esys_Initialize, after Close.
  void Open();
  // Flushes transient objects and sessions unless the context is dead, then finalises.
  void Close() noexcept;
  // No context, or one that a fault below ESYS left unusable. Also read by the JavaScript thread.
  bool dead() const noexcept { return dead_.load(std::memory_order_relaxed); }

  // Runs `call(ESYS_CONTEXT*, shandle1, shandle2, shandle3)`, the C function `name`. A session used
  // without continueSession has ended after success, so its numbers become void.
  template <class F>
  void Call(const char* name, const Sessions& sessions, F call) {
    Run(name, [&](ESYS_CONTEXT* esys) {
      const std::array<ESYS_TR, 3> s = Prepare(sessions);
      const TSS2_RC rc = call(esys, s[0], s[1], s[2]);
      if (rc == TSS2_RC_SUCCESS) ForgetEndedSessions(sessions);
      return rc;
    });
  }
  template <class F>
  void Call(const char* name, F call) {
    Run(name, call);
  }

  // Puts the TPM handle of `object` in the first place of the handle area, sends the command as it then is, past ESYS,
  // and waits for the response. Whatever the TPM answers is returned: the response code is the caller's to read.
  Octets Transmit(HandleId object, Octets command);

  ESYS_TR Resolve(HandleId id) const { return handles_.Find(id).tr; }
  ESYS_TR Resolve(const std::optional<HandleId>& id) const {
    return id ? Resolve(*id) : ESYS_TR_NONE;
  }
  HandleTable& handles() noexcept { return handles_; }

  // Gives up one number; the resource is flushed or closed if it was its last.
  void Discard(HandleId id) noexcept;

 private:
  struct FinalizeTcti {
    void operator()(TSS2_TCTI_CONTEXT* tcti) const noexcept;
  };
  struct FinalizeEsys {
    void operator()(ESYS_CONTEXT* esys) const noexcept { Esys_Finalize(&esys); }
  };

  template <class F>
  void Run(const char* name, F call) {
    if (dead()) throw TssError(TSS2_TCTI_RC_NO_CONNECTION, name);
    TSS2_RC rc;
    try {
      rc = call(esys_.get());
    } catch (const VoidHandle&) {
      throw TssError(TSS2_ESYS_RC_BAD_TR, name);
    }
    if (IsFatal(rc)) dead_ = true;
    Check(rc, name);
  }

  static bool IsFatal(TSS2_RC rc) noexcept;
  std::array<ESYS_TR, 3> Prepare(const Sessions& sessions) const;
  void ForgetEndedSessions(const Sessions& sessions);
  void Release(HandleTable::Entry entry) noexcept;

  const std::string tcti_config_;
  std::unique_ptr<TSS2_TCTI_CONTEXT, FinalizeTcti> tcti_;
  std::unique_ptr<ESYS_CONTEXT, FinalizeEsys> esys_;  // after tcti_: is finalised first
  HandleTable handles_;
  std::atomic<bool> dead_{true};
};

}  // namespace agentkeyd
