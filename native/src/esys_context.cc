#include "esys_context.h"

#include <tss2/tss2_tctildr.h>

namespace agentkeyd {

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
