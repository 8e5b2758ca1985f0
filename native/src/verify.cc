// verify.node: the classes PublicKey and VerificationThread.
#include <napi.h>

#include <string>

#include "verification_thread.h"

namespace agentkeyd {

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  // Headers and library are both Node's own, and OpenSSL keeps its interfaces within a major version.
  if (OPENSSL_version_major() != OPENSSL_VERSION_MAJOR) {
    throw Napi::Error::New(env, "verify.node was built for OpenSSL " + std::to_string(OPENSSL_VERSION_MAJOR));
  }
  exports.Set("PublicKey", PublicKeyObject::Define(env));
  exports.Set("VerificationThread", VerificationThread::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(verify, Init)

}  // namespace agentkeyd
