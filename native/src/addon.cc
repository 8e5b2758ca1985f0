// esys.node: the class EsysConnection, and nothing else.
#include <napi.h>
#include <stdlib.h>

#include "esys_connection.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  // tpm2-tss writes its own log to standard error, which is the caller's. An operator may ask for it.
  setenv("TSS2_LOG", "all+NONE", 0);
  exports.Set("EsysConnection", agentkeyd::EsysConnection::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(esys, Init)
