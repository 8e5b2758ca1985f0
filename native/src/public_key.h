// A public key and the one algorithm it verifies with, by the OpenSSL that Node is. Knows nothing of JavaScript.
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace agentkeyd {

// Octets that are somebody else's.
struct Span {
  const std::uint8_t* data;
  std::size_t size;
};

class PublicKey {
 public:
  // `algorithm` by its JOSE name, `spki` a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
  // Null if the key is none, or is not one of the algorithm.
  static std::shared_ptr<PublicKey> Parse(const std::string& algorithm, Span spki);

  // Whether `signature` (JOSE form, RFC 7518 §3) is this key's over `octets`: the digest, or for Ed25519 the message.
  // Whatever else happens is a no. May be asked on any thread.
  bool Verifies(Span octets, Span signature) noexcept;

  struct Algorithm;

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
    void operator()(EVP_PKEY_CTX* context) const noexcept { EVP_PKEY_CTX_free(context); }
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  };

  PublicKey() = default;
  bool Prepare();
  bool IsForAlgorithm() const;
  bool VerifiesDigest(Span digest, Span signature);
  bool VerifiesMessage(Span message, Span signature);

  const Algorithm* algorithm_ = nullptr;
  std::size_t signature_octets_ = 0;
  std::unique_ptr<EVP_PKEY, Free> key_;
  // What OpenSSL prepares for a key costs half as much as an ECDSA verification, so it is kept; one use at a time.
  std::mutex mutex_;
  std::unique_ptr<EVP_PKEY_CTX, Free> digest_context_;
  std::unique_ptr<EVP_MD_CTX, Free> message_context_;
};

}  // namespace agentkeyd
