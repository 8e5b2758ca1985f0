#include "public_key.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

namespace agentkeyd {

struct PublicKey::Algorithm {
  const char* jose;
  // OpenSSL's names; Ed25519 hashes by itself.
  const char* key_type;
  const char* group;
  const char* hash;
  std::size_t digest_octets;
  int rsa_padding;
};

namespace {

constexpr std::array<PublicKey::Algorithm, 5> kAlgorithms{{
    {"ES256", "EC", "prime256v1", "SHA256", 32, 0},
    {"ES384", "EC", "secp384r1", "SHA384", 48, 0},
    {"Ed25519", "ED25519", nullptr, nullptr, 0, 0},
    {"RS256", "RSA", nullptr, "SHA256", 32, RSA_PKCS1_PADDING},
    {"PS256", "RSA", nullptr, "SHA256", 32, RSA_PKCS1_PSS_PADDING},
}};

// RFC 7518 §3.5: as long as the hash.
constexpr int kPssSaltOctets = 32;
constexpr std::size_t kEd25519SignatureOctets = 64;
constexpr std::size_t kMaxCoordinateOctets = 48;
// RSA-8192.
constexpr std::size_t kMaxRsaOctets = 1024;

// Leaves no errors behind in the queue of its thread, where Node would find them.
struct NoErrorsLeft {
  ~NoErrorsLeft() { ERR_clear_error(); }
};

// r‖s as Ecdsa-Sig-Value (RFC 3279 §2.2.3), which is what OpenSSL reads. It also looks at the range of both.
class EcdsaSignature {
 public:
  explicit EcdsaSignature(Span raw) {
    const std::size_t half = raw.size / 2;
    Append(Span{raw.data, half});
    Append(Span{raw.data + half, half});
    octets_[0] = 0x30;
    octets_[1] = static_cast<std::uint8_t>(size_ - 2);
  }
  const std::uint8_t* data() const { return octets_.data(); }
  std::size_t size() const { return size_; }

 private:
  // An INTEGER has no zero in front but the one that makes it positive.
  void Append(Span integer) {
    const std::uint8_t* const end = integer.data + integer.size;
    const std::uint8_t* first = integer.data;
    while (first < end - 1 && *first == 0) first++;
    const bool needs_zero = (*first & 0x80) != 0;
    octets_[size_++] = 0x02;
    octets_[size_++] = static_cast<std::uint8_t>((end - first) + (needs_zero ? 1 : 0));
    if (needs_zero) octets_[size_++] = 0;
    size_ = static_cast<std::size_t>(std::copy(first, end, octets_.begin() + size_) - octets_.begin());
  }

  // Below 128, so every length is one octet.
  static constexpr std::size_t kMaxOctets = 2 + 2 * (3 + kMaxCoordinateOctets);
  static_assert(kMaxOctets < 128);
  std::array<std::uint8_t, kMaxOctets> octets_{};
  std::size_t size_ = 2;
};

}  // namespace

std::shared_ptr<PublicKey> PublicKey::Parse(const std::string& algorithm, Span spki) {
  const NoErrorsLeft no_errors_left;
  const auto* const found = std::find_if(kAlgorithms.begin(), kAlgorithms.end(),
                                         [&](const Algorithm& one) { return algorithm == one.jose; });
  if (found == kAlgorithms.end()) return nullptr;
  const std::shared_ptr<PublicKey> result(new PublicKey());
  result->algorithm_ = found;
  const unsigned char* at = spki.data;
  result->key_.reset(d2i_PUBKEY_ex(nullptr, &at, static_cast<long>(spki.size), nullptr, nullptr));
  if (result->key_ == nullptr || at != spki.data + spki.size) return nullptr;
  return result->IsForAlgorithm() && result->Prepare() ? result : nullptr;
}

bool PublicKey::IsForAlgorithm() const {
  if (EVP_PKEY_is_a(key_.get(), algorithm_->key_type) != 1) return false;
  if (algorithm_->group == nullptr) return true;
  std::array<char, 32> name{};
  std::size_t length = 0;
  return EVP_PKEY_get_group_name(key_.get(), name.data(), name.size(), &length) == 1 &&
         std::string(name.data(), length) == algorithm_->group;
}

bool PublicKey::Prepare() {
  if (algorithm_->hash == nullptr) {
    signature_octets_ = kEd25519SignatureOctets;
    message_context_.reset(EVP_MD_CTX_new());
    return message_context_ != nullptr;
  }
  const bool is_rsa = algorithm_->rsa_padding != 0;
  signature_octets_ =
      is_rsa ? static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())) : 2 * algorithm_->digest_octets;
  if (is_rsa && signature_octets_ > kMaxRsaOctets) return false;
  digest_context_.reset(EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr));
  EVP_PKEY_CTX* const context = digest_context_.get();
  if (context == nullptr || EVP_PKEY_verify_init(context) != 1) return false;
  if (is_rsa && EVP_PKEY_CTX_set_rsa_padding(context, algorithm_->rsa_padding) != 1) return false;
  const EVP_MD* const hash = EVP_get_digestbyname(algorithm_->hash);
  if (hash == nullptr || EVP_PKEY_CTX_set_signature_md(context, hash) != 1) return false;
  if (algorithm_->rsa_padding != RSA_PKCS1_PSS_PADDING) return true;
  return EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, kPssSaltOctets) == 1;
}

bool PublicKey::Verifies(Span octets, Span signature) noexcept {
  if (signature.size != signature_octets_) return false;
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    const NoErrorsLeft no_errors_left;
    return digest_context_ != nullptr ? VerifiesDigest(octets, signature) : VerifiesMessage(octets, signature);
  } catch (...) {
    return false;
  }
}

bool PublicKey::VerifiesDigest(Span digest, Span signature) {
  if (digest.size != algorithm_->digest_octets) return false;
  if (algorithm_->rsa_padding != 0) {
    return EVP_PKEY_verify(digest_context_.get(), signature.data, signature.size, digest.data, digest.size) == 1;
  }
  const EcdsaSignature der(signature);
  return EVP_PKEY_verify(digest_context_.get(), der.data(), der.size(), digest.data, digest.size) == 1;
}

bool PublicKey::VerifiesMessage(Span message, Span signature) {
  EVP_MD_CTX* const context = message_context_.get();
  return EVP_MD_CTX_reset(context) == 1 &&
         EVP_DigestVerifyInit_ex(context, nullptr, nullptr, nullptr, nullptr, key_.get(), nullptr) == 1 &&
         EVP_DigestVerify(context, signature.data, signature.size, message.data, message.size) == 1;
}

}  // namespace agentkeyd
