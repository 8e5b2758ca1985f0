// TPM structures from and to octets, through Tss2_MU (TPM 2.0 Part 2).
#pragma once

#include <tss2/tss2_mu.h>

#include <cstring>

#include "octets.h"
#include "tss_error.h"

namespace agentkeyd {

template <class T>
struct Codec;

#define AGENTKEYD_CODEC(type)                                                                 \
  template <>                                                                                 \
  struct Codec<type> {                                                                        \
    static constexpr const char* kMarshal = "Tss2_MU_" #type "_Marshal";                      \
    static constexpr const char* kUnmarshal = "Tss2_MU_" #type "_Unmarshal";                  \
    static TSS2_RC Marshal(const type& in, uint8_t* out, size_t size, size_t* offset) {       \
      return Tss2_MU_##type##_Marshal(&in, out, size, offset);                                \
    }                                                                                         \
    static TSS2_RC Unmarshal(const uint8_t* in, size_t size, size_t* offset, type* out) {     \
      return Tss2_MU_##type##_Unmarshal(in, size, offset, out);                               \
    }                                                                                         \
  }

AGENTKEYD_CODEC(TPML_DIGEST_VALUES);
AGENTKEYD_CODEC(TPML_PCR_SELECTION);
AGENTKEYD_CODEC(TPMS_CAPABILITY_DATA);
AGENTKEYD_CODEC(TPMS_CONTEXT);
AGENTKEYD_CODEC(TPMS_CREATION_DATA);
AGENTKEYD_CODEC(TPMS_NV_PUBLIC);
AGENTKEYD_CODEC(TPMS_TIME_INFO);
AGENTKEYD_CODEC(TPMT_PUBLIC);
AGENTKEYD_CODEC(TPMT_SENSITIVE);
AGENTKEYD_CODEC(TPMT_SIG_SCHEME);
AGENTKEYD_CODEC(TPMT_SIGNATURE);
AGENTKEYD_CODEC(TPMT_TK_AUTH);
AGENTKEYD_CODEC(TPMT_TK_CREATION);
AGENTKEYD_CODEC(TPMT_TK_HASHCHECK);
AGENTKEYD_CODEC(TPMT_TK_VERIFIED);

#undef AGENTKEYD_CODEC

template <class T>
Octets Marshal(const T& structure) {
  Octets octets(sizeof(T));  // no wire form is longer than its C structure
  size_t offset = 0;
  Check(Codec<T>::Marshal(structure, octets.data(), octets.size(), &offset), Codec<T>::kMarshal);
  octets.resize(offset);
  return octets;
}

// Octets that are left over are an error, as everywhere in this project.
template <class T>
void Unmarshal(const uint8_t* data, size_t size, T* structure) {
  size_t offset = 0;
  std::memset(structure, 0, sizeof(T));
  Check(Codec<T>::Unmarshal(data, size, &offset, structure), Codec<T>::kUnmarshal);
  if (offset != size) throw TssError(TSS2_MU_RC_BAD_SIZE, Codec<T>::kUnmarshal);
}

// The contents of a TPM2B whose buffer has the given member name.
template <class T, class Buffer>
Octets Contents(const T& structure, const Buffer& buffer) {
  return Octets(buffer, buffer + structure.size);
}

}  // namespace agentkeyd
