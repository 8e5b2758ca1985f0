// Authorisation sessions (TPM 2.0 Part 3, 11).
#include "commands.h"

namespace agentkeyd {

namespace {

TPM2_SE SessionType(const Arguments& in) {
  return in.Choice<TPM2_SE>("type", {{"hmac", TPM2_SE_HMAC}, {"policy", TPM2_SE_POLICY}, {"trial", TPM2_SE_TRIAL}});
}

TPMT_SYM_DEF Symmetric(const Arguments& in) {
  TPMT_SYM_DEF result{};
  result.algorithm = in.Choice<TPM2_ALG_ID>("symmetric", {{"none", TPM2_ALG_NULL}, {"aes-128-cfb", TPM2_ALG_AES}});
  result.keyBits.aes = 128;  // these two are not sent with TPM_ALG_NULL
  result.mode.aes = TPM2_ALG_CFB;
  return result;
}

std::unique_ptr<Work> StartAuthSession(const Arguments& in) {
  return MakeWork([tpm_key = in.OptionalHandle("tpmKey"), bind = in.OptionalHandle("bind"), type = SessionType(in),
                   symmetric = Symmetric(in), auth_hash = in.Number<TPMI_ALG_HASH>("authHash"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_StartAuthSession", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_StartAuthSession(c, esys.Resolve(tpm_key), esys.Resolve(bind), s1, s2, s3, nullptr, type,
                                   &symmetric, auth_hash, &tr);
    });
    return Reply().Add("handle", NewHandle{esys.handles().Add(tr, HandleKind::kSession), HandleKind::kSession});
  });
}

std::unique_ptr<Work> SessionNonce(const Arguments& in) {
  return MakeWork([session = in.Handle("session")](EsysContext& esys) {
    Out<TPM2B_NONCE> nonce;
    esys.Call("Esys_TRSess_GetNonceTPM", [&](ESYS_CONTEXT* c) {
      return Esys_TRSess_GetNonceTPM(c, esys.Resolve(session), nonce.Receive());
    });
    return Reply().Add("nonceTpm", Contents(*nonce, nonce->buffer));
  });
}

std::unique_ptr<Work> PolicyRestart(const Arguments& in) {
  return MakeWork([session = in.Handle("session")](EsysContext& esys) {
    esys.Call("Esys_PolicyRestart", [&](ESYS_CONTEXT* c) {
      return Esys_PolicyRestart(c, esys.Resolve(session), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE);
    });
    return Reply();
  });
}

// A command of the caller's own making.
std::unique_ptr<Work> Transmit(const Arguments& in) {
  return MakeWork([object = in.Handle("object"), command = in.Command("command")](EsysContext& esys) mutable {
    return Reply().Add("response", esys.Transmit(object, std::move(command)));
  });
}

}  // namespace

void AddSessionCommands(CommandMap& commands) {
  commands["startAuthSession"] = StartAuthSession;
  commands["sessionNonce"] = SessionNonce;
  commands["policyRestart"] = PolicyRestart;
  commands["transmit"] = Transmit;
}

}  // namespace agentkeyd
