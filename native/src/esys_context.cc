#include "esys_context.h"

#include <tss2/tss2_mu.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>

namespace agentkeyd {

namespace {

// No TPM has longer responses (TPM 2.0 Part 2, TPM2_MAX_RESPONSE_SIZE of the PC Client profile).
constexpr std::size_t kMaxResponseSize = TPM2_MAX_RESPONSE_SIZE;
// Tag, size and command code (TPM 2.0 Part 1, 18): the handle area follows.
constexpr std::size_t kHandleOffset = 10;

}  // namespace

void EsysContext::FinalizeTcti::operator()(TSS2_TCTI_CONTEXT* tcti) const noexcept {
  Tss2_TctiLdr_Finalize(&tcti);
}

void EsysContext::Open() {
  Close();
  TSS2_TCTI_CONTEXT* tcti = nullptr;
  Check(Tss2_TctiLdr_Initialize(tcti_config_.c_str(), &tcti), "Tss2_TctiLdr_Initialize");
  tcti_.reset(tcti);
  ESYS_CONTEXT* esys = nullptr;
  const TSS2_RC rc = Esys_Initialize(&esys, tcti, nullptr);
  if (rc != TSS2_RC_SUCCESS) {
    tcti_.reset();
    throw TssError(rc, "Esys_Initialize");
  }
  esys_.reset(esys);
  dead_ = false;
}

void EsysContext::Close() noexcept {
  if (!dead()) {
    for (const HandleTable::Entry& entry : handles_.Entries()) Release(entry);
  }
  handles_.Clear();
  dead_ = true;
  esys_.reset();
  tcti_.reset();
}

Octets EsysContext::Transmit(HandleId object, Octets command) {
  Octets response(kMaxResponseSize);
  std::size_t size = response.size();
  Run("Tss2_Tcti_Transmit", [&](ESYS_CONTEXT* esys) -> TSS2_RC {
    TPM2_HANDLE handle = 0;
    std::size_t offset = kHandleOffset;
    TSS2_RC rc = Esys_TR_GetTpmHandle(esys, Resolve(object), &handle);
    if (rc == TSS2_RC_SUCCESS) rc = Tss2_MU_UINT32_Marshal(handle, command.data(), command.size(), &offset);
    if (rc != TSS2_RC_SUCCESS) return rc;
    // Between two calls ESYS waits for nothing, so the TCTI is free.
    rc = Tss2_Tcti_Transmit(tcti_.get(), command.size(), command.data());
    if (rc == TSS2_RC_SUCCESS) rc = Tss2_Tcti_Receive(tcti_.get(), &size, response.data(), TSS2_TCTI_TIMEOUT_BLOCK);
    return rc;
  });
  response.resize(size);
  return response;
}

void EsysContext::Discard(HandleId id) noexcept {
  if (dead()) return;
  try {
    const HandleTable::Entry entry = handles_.Find(id);
    if (handles_.Remove(id)) Release(entry);
  } catch (const VoidHandle&) {
    // Ended by a command before its last reference was dropped.
  }
}

void EsysContext::Release(HandleTable::Entry entry) noexcept {
  ESYS_TR tr = entry.tr;
  const bool is_loaded = entry.kind == HandleKind::kTransient || entry.kind == HandleKind::kSession;
  if (is_loaded) {
    const TSS2_RC rc = Esys_FlushContext(esys_.get(), tr);
    if (rc == TSS2_RC_SUCCESS) return;  // has closed the ESYS_TR too
    if (IsFatal(rc)) dead_ = true;
  }
  Esys_TR_Close(esys_.get(), &tr);
}

std::array<ESYS_TR, 3> EsysContext::Prepare(const Sessions& sessions) const {
  std::array<ESYS_TR, 3> result{};
  for (std::size_t i = 0; i < sessions.size(); i++) {
    result[i] = sessions[i].id ? Resolve(*sessions[i].id) : sessions[i].fallback;
    if (sessions[i].attributes) {
      Check(Esys_TRSess_SetAttributes(esys_.get(), result[i], *sessions[i].attributes, 0xff),
            "Esys_TRSess_SetAttributes");
    }
  }
  return result;
}

void EsysContext::ForgetEndedSessions(const Sessions& sessions) {
  for (const SessionUse& use : sessions) {
    if (!use.id) continue;
    ESYS_TR tr = Resolve(*use.id);
    TPMA_SESSION attributes = TPMA_SESSION_CONTINUESESSION;
    Check(Esys_TRSess_GetAttributes(esys_.get(), tr, &attributes), "Esys_TRSess_GetAttributes");
    if ((attributes & TPMA_SESSION_CONTINUESESSION) != 0) continue;
    handles_.RemoveAll(tr);
    Esys_TR_Close(esys_.get(), &tr);
  }
}

// ESYS refuses every further call once its state is irregular: after a fault below it, or after a
// response that it could not accept.
bool EsysContext::IsFatal(TSS2_RC rc) noexcept {
  if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER) return true;
  switch (rc) {
    case TSS2_ESYS_RC_BAD_SEQUENCE:
    case TSS2_ESYS_RC_RSP_AUTH_FAILED:
    case TSS2_ESYS_RC_MALFORMED_RESPONSE:
    case TSS2_ESYS_RC_INSUFFICIENT_RESPONSE:
    case TSS2_SYS_RC_BAD_SEQUENCE:
    case TSS2_SYS_RC_MALFORMED_RESPONSE:
    case TSS2_SYS_RC_INSUFFICIENT_RESPONSE:
      return true;
    default:
      return false;
  }
}

}  // namespace agentkeyd
