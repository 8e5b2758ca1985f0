#include "handle_table.h"

namespace agentkeyd {

const char* HandleKindName(HandleKind kind) {
  switch (kind) {
    case HandleKind::kTransient:
      return "transient";
    case HandleKind::kPersistent:
      return "persistent";
    case HandleKind::kNv:
      return "nv";
    case HandleKind::kSession:
      return "session";
    case HandleKind::kPermanent:
      break;
  }
  return "permanent";
}

HandleKind HandleKindOf(TPM2_HANDLE handle) {
  switch (handle >> TPM2_HR_SHIFT) {
    case TPM2_HT_NV_INDEX:
      return HandleKind::kNv;
    case TPM2_HT_HMAC_SESSION:
    case TPM2_HT_POLICY_SESSION:
      return HandleKind::kSession;
    case TPM2_HT_TRANSIENT:
      return HandleKind::kTransient;
    case TPM2_HT_PERSISTENT:
      return HandleKind::kPersistent;
    default:
      return HandleKind::kPermanent;
  }
}

HandleId HandleTable::Add(ESYS_TR tr, HandleKind kind) {
  entries_.emplace(next_, Entry{tr, kind});
  return next_++;
}

HandleTable::Entry HandleTable::Find(HandleId id) const {
  if (id < kFirstId) {
    const auto tr = static_cast<ESYS_TR>(id);
    const bool is_pcr = tr <= ESYS_TR_PCR31;
    const bool is_hierarchy = tr == ESYS_TR_RH_OWNER || tr == ESYS_TR_RH_NULL ||
                              tr == ESYS_TR_RH_LOCKOUT || tr == ESYS_TR_RH_ENDORSEMENT ||
                              tr == ESYS_TR_RH_PLATFORM;
    if (is_pcr || is_hierarchy) return Entry{tr, HandleKind::kPermanent};
    throw VoidHandle();
  }
  const auto found = entries_.find(id);
  if (found == entries_.end()) throw VoidHandle();
  return found->second;
}

bool HandleTable::Remove(HandleId id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  const ESYS_TR tr = found->second.tr;
  entries_.erase(found);
  for (const auto& [other, entry] : entries_) {
    if (entry.tr == tr) return false;
  }
  return true;
}

void HandleTable::RemoveAll(ESYS_TR tr) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    it = it->second.tr == tr ? entries_.erase(it) : std::next(it);
  }
}

std::vector<HandleTable::Entry> HandleTable::Entries() const {
  std::map<ESYS_TR, Entry> distinct;
  for (const auto& [id, entry] : entries_) distinct.emplace(entry.tr, entry);
  std::vector<Entry> result;
  for (const auto& [tr, entry] : distinct) result.push_back(entry);
  return result;
}

}  // namespace agentkeyd
