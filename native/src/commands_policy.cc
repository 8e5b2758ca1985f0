// Enhanced authorisation (TPM 2.0 Part 3, 23).
#include "commands.h"

namespace agentkeyd {

namespace {

// What TPM2_PolicySecret and TPM2_PolicySigned share.
struct PolicyAuth {
  HandleId auth;
  HandleId policy_session;
  TPM2B_NONCE nonce_tpm;
  TPM2B_DIGEST cp_hash;
  TPM2B_NONCE policy_ref;
  INT32 expiration;
};

PolicyAuth ReadPolicyAuth(const Arguments& in) {
  return PolicyAuth{in.Handle("auth"),
                    in.Handle("policySession"),
                    in.Tpm2b<TPM2B_NONCE>("nonceTpm", true),
                    in.Tpm2b<TPM2B_DIGEST>("cpHashA", true),
                    in.Tpm2b<TPM2B_NONCE>("policyRef", true),
                    in.Has("expiration") ? in.Number<INT32>("expiration") : 0};
}

struct TicketOut {
  Out<TPM2B_TIMEOUT> timeout;
  Out<TPMT_TK_AUTH> ticket;

  Reply ToReply() const {
    return Reply().Add("timeout", Contents(*timeout, timeout->buffer)).Add("ticket", Marshal(*ticket));
  }
};

std::unique_ptr<Work> PolicySecret(const Arguments& in) {
  return MakeWork([a = ReadPolicyAuth(in), sessions = in.SessionUses(1)](EsysContext& esys) {
    TicketOut out;
    esys.Call("Esys_PolicySecret", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicySecret(c, esys.Resolve(a.auth), esys.Resolve(a.policy_session), s1, s2, s3, &a.nonce_tpm,
                               &a.cp_hash, &a.policy_ref, a.expiration, out.timeout.Receive(), out.ticket.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> PolicySigned(const Arguments& in) {
  return MakeWork([a = ReadPolicyAuth(in), signature = in.Structure<TPMT_SIGNATURE>("signature"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    TicketOut out;
    esys.Call("Esys_PolicySigned", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicySigned(c, esys.Resolve(a.auth), esys.Resolve(a.policy_session), s1, s2, s3, &a.nonce_tpm,
                               &a.cp_hash, &a.policy_ref, a.expiration, &signature, out.timeout.Receive(),
                               out.ticket.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> PolicyPcr(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession"), digest = in.Tpm2b<TPM2B_DIGEST>("pcrDigest", true),
                   pcrs = in.Structure<TPML_PCR_SELECTION>("pcrs"), sessions = in.SessionUses(0)](EsysContext& esys) {
    esys.Call("Esys_PolicyPCR", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicyPCR(c, esys.Resolve(session), s1, s2, s3, &digest, &pcrs);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyOr(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession"), branches = in.Digests("branches"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    esys.Call("Esys_PolicyOR", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicyOR(c, esys.Resolve(session), s1, s2, s3, &branches);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyAuthorize(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession"), approved = in.Tpm2b<TPM2B_DIGEST>("approvedPolicy"),
                   policy_ref = in.Tpm2b<TPM2B_NONCE>("policyRef", true), key = in.Tpm2b<TPM2B_NAME>("keySign"),
                   ticket = in.Structure<TPMT_TK_VERIFIED>("checkTicket"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    esys.Call("Esys_PolicyAuthorize", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicyAuthorize(c, esys.Resolve(session), s1, s2, s3, &approved, &policy_ref, &key, &ticket);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyNv(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"), session = in.Handle("policySession"),
                   operand = in.Tpm2b<TPM2B_OPERAND>("operandB"), offset = in.Number<UINT16>("offset"),
                   operation = in.Number<TPM2_EO>("operation"), sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_PolicyNV", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PolicyNV(c, esys.Resolve(auth), esys.Resolve(index), esys.Resolve(session), s1, s2, s3, &operand,
                           offset, operation);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyAuthValue(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession")](EsysContext& esys) {
    esys.Call("Esys_PolicyAuthValue", [&](ESYS_CONTEXT* c) {
      return Esys_PolicyAuthValue(c, esys.Resolve(session), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyCommandCode(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession"), code = in.Number<TPM2_CC>("code")](EsysContext& esys) {
    esys.Call("Esys_PolicyCommandCode", [&](ESYS_CONTEXT* c) {
      return Esys_PolicyCommandCode(c, esys.Resolve(session), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, code);
    });
    return Reply();
  });
}

std::unique_ptr<Work> PolicyGetDigest(const Arguments& in) {
  return MakeWork([session = in.Handle("policySession")](EsysContext& esys) {
    Out<TPM2B_DIGEST> digest;
    esys.Call("Esys_PolicyGetDigest", [&](ESYS_CONTEXT* c) {
      return Esys_PolicyGetDigest(c, esys.Resolve(session), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  digest.Receive());
    });
    return Reply().Add("policyDigest", Contents(*digest, digest->buffer));
  });
}

}  // namespace

void AddPolicyCommands(CommandMap& commands) {
  commands["policySecret"] = PolicySecret;
  commands["policySigned"] = PolicySigned;
  commands["policyPcr"] = PolicyPcr;
  commands["policyOr"] = PolicyOr;
  commands["policyAuthorize"] = PolicyAuthorize;
  commands["policyNv"] = PolicyNv;
  commands["policyAuthValue"] = PolicyAuthValue;
  commands["policyCommandCode"] = PolicyCommandCode;
  commands["policyGetDigest"] = PolicyGetDigest;
}

}  // namespace agentkeyd
