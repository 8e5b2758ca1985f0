// Signatures, tickets and digests (TPM 2.0 Part 3, 15 and 20).
#include "commands.h"

namespace agentkeyd {

namespace {

std::unique_ptr<Work> Sign(const Arguments& in) {
  return MakeWork([key = in.Handle("key"), digest = in.Tpm2b<TPM2B_DIGEST>("digest"),
                   scheme = in.StructureOr("inScheme", kNullScheme),
                   validation = in.StructureOr("validation", kNullTicket),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    Out<TPMT_SIGNATURE> signature;
    esys.Call("Esys_Sign", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Sign(c, esys.Resolve(key), s1, s2, s3, &digest, &scheme, &validation, signature.Receive());
    });
    return Reply().Add("signature", Marshal(*signature));
  });
}

std::unique_ptr<Work> VerifySignature(const Arguments& in) {
  return MakeWork([key = in.Handle("key"), digest = in.Tpm2b<TPM2B_DIGEST>("digest"),
                   signature = in.Structure<TPMT_SIGNATURE>("signature"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPMT_TK_VERIFIED> validation;
    esys.Call("Esys_VerifySignature", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_VerifySignature(c, esys.Resolve(key), s1, s2, s3, &digest, &signature, validation.Receive());
    });
    return Reply().Add("validation", Marshal(*validation));
  });
}

std::unique_ptr<Work> Hash(const Arguments& in) {
  return MakeWork([data = in.Tpm2b<TPM2B_MAX_BUFFER>("data"), alg = in.Number<TPMI_ALG_HASH>("hashAlg"),
                   hierarchy = in.Handle("hierarchy"), sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPM2B_DIGEST> digest;
    Out<TPMT_TK_HASHCHECK> validation;
    esys.Call("Esys_Hash", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Hash(c, s1, s2, s3, &data, alg, esys.Resolve(hierarchy), digest.Receive(), validation.Receive());
    });
    return Reply().Add("digest", Contents(*digest, digest->buffer)).Add("validation", Marshal(*validation));
  });
}

}  // namespace

void AddSignCommands(CommandMap& commands) {
  commands["sign"] = Sign;
  commands["verifySignature"] = VerifySignature;
  commands["hash"] = Hash;
}

}  // namespace agentkeyd
