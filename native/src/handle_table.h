// Which ESYS_TR belongs to which number known to JavaScript. Used on the connection's thread only.
#pragma once

#include <tss2/tss2_esys.h>

#include <cstdint>
#include <map>
#include <vector>

namespace agentkeyd {

using HandleId = std::uint64_t;

enum class HandleKind { kPermanent, kTransient, kPersistent, kNv, kSession };

const char* HandleKindName(HandleKind kind);

// Kind by TPM handle, TPM 2.0 Part 2, 7.2 (TPM_HT).
HandleKind HandleKindOf(TPM2_HANDLE handle);

// A number that is void: never given, of an earlier context, or of a resource that has ended.
class VoidHandle {};

class HandleTable {
 public:
  struct Entry {
    ESYS_TR tr;
    HandleKind kind;
  };

  // Numbers below are ESYS's own names for PCRs and hierarchies.
  static constexpr HandleId kFirstId = HandleId{1} << 32;

  HandleId Add(ESYS_TR tr, HandleKind kind);
  // Throws VoidHandle.
  Entry Find(HandleId id) const;
  // ESYS gives the same ESYS_TR to all who ask for one TPM handle: true if no other number has it.
  bool Remove(HandleId id);
  // The resource has ended: all its numbers are void.
  void RemoveAll(ESYS_TR tr);
  std::vector<Entry> Entries() const;
  // The context has ended. Numbers are never given twice.
  void Clear() { entries_.clear(); }

 private:
  std::map<HandleId, Entry> entries_;
  HandleId next_ = kFirstId;
};

}  // namespace agentkeyd
