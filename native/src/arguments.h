// The one object argument of a command. Everything is copied here, on the JavaScript thread; after
// that the command holds no JavaScript value. Wrong types throw Napi::TypeError, octets that are not
// the structure throw TssError.
#pragma once

#include <napi.h>

#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "esys_context.h"
#include "esys_ptr.h"
#include "marshal.h"
#include "octets.h"

namespace agentkeyd {

class Arguments {
 public:
  explicit Arguments(Napi::Value value);

  bool Has(const char* name) const;
  // One of a few words, by what it stands for.
  template <class T>
  T Choice(const char* name, std::initializer_list<std::pair<const char*, T>> choices) const {
    const std::string word = Text(name);
    for (const auto& [choice, value] : choices) {
      if (word == choice) return value;
    }
    throw Wrong(name, "one of its words");
  }
  bool Boolean(const char* name) const;
  std::uint64_t Uint64(const char* name) const;
  template <class Integer>
  Integer Number(const char* name) const {
    return static_cast<Integer>(Whole(name, static_cast<double>(std::numeric_limits<Integer>::min()),
                                      static_cast<double>(std::numeric_limits<Integer>::max())));
  }

  HandleId Handle(const char* name) const;
  std::optional<HandleId> OptionalHandle(const char* name) const;

  // `sessions`: up to three; the first `authorisations` places fall back to the password.
  Sessions SessionUses(int authorisations) const;

  // Fills a TPM2B whose buffer has `capacity` octets; absent stays empty if `is_optional`.
  template <class T>
  T Tpm2b(const char* name, bool is_optional = false) const {
    T result{};
    CopyTpm2b(name, is_optional, &result);
    return result;
  }
  // The same for a secret.
  template <class T>
  void CopyTpm2b(const char* name, bool is_optional, T* result) const {
    auto* const buffer = reinterpret_cast<std::uint8_t*>(result) + sizeof(result->size);
    result->size = CopyOctets(name, is_optional, buffer, sizeof(T) - sizeof(result->size));
  }

  template <class T>
  T Structure(const char* name) const {
    T result;
    CopyStructure(name, &result);
    return result;
  }
  template <class T>
  void CopyStructure(const char* name, T* result) const {
    const Span octets = View(name);
    Unmarshal(octets.data, octets.size, result);
  }
  template <class T>
  T StructureOr(const char* name, const T& absent) const {
    return Has(name) ? Structure<T>(name) : absent;
  }
  // TPM2B of a structure, such as TPM2B_PUBLIC; ESYS computes its size.
  TPM2B_PUBLIC Public(const char* name) const;

  // A whole command that has at least one handle, its size (TPM 2.0 Part 1, 18) that of the octets.
  Octets Command(const char* name) const;
  TPML_DIGEST Digests(const char* name) const;
  TPML_CC CommandCodes(const char* name) const;

 private:
  struct Span {
    const std::uint8_t* data;
    size_t size;
  };

  Napi::Value Get(const char* name) const { return object_.Get(name); }
  std::string Text(const char* name) const;
  double Whole(const char* name, double min, double max) const;
  // Valid until JavaScript runs again.
  Span View(const char* name) const;
  std::uint16_t CopyOctets(const char* name, bool is_optional, std::uint8_t* buffer, size_t capacity) const;
  Napi::TypeError Wrong(const char* name, const char* rule) const;

  Napi::Object object_;
};

}  // namespace agentkeyd
