// Attestation: TPMS_ATTEST with its signature, and credential activation (TPM 2.0 Part 3, 12.5 and 18).
#include "commands.h"

namespace agentkeyd {

namespace {

// What the attestation commands have in common.
struct Attesting {
  HandleId signer;
  TPM2B_DATA qualifying_data;
  TPMT_SIG_SCHEME scheme;
  Sessions sessions;
};

Attesting ReadAttesting(const Arguments& in, int authorisations) {
  return Attesting{in.Handle("signer"), in.Tpm2b<TPM2B_DATA>("qualifyingData"),
                   in.StructureOr("inScheme", kNullScheme), in.SessionUses(authorisations)};
}

struct AttestedOut {
  Out<TPM2B_ATTEST> attest;
  Out<TPMT_SIGNATURE> signature;

  Reply ToReply() const {
    return Reply()
        .Add("attest", Contents(*attest, attest->attestationData))
        .Add("signature", Marshal(*signature));
  }
};

std::unique_ptr<Work> Certify(const Arguments& in) {
  return MakeWork([object = in.Handle("object"), a = ReadAttesting(in, 2)](EsysContext& esys) {
    AttestedOut out;
    esys.Call("Esys_Certify", a.sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Certify(c, esys.Resolve(object), esys.Resolve(a.signer), s1, s2, s3, &a.qualifying_data, &a.scheme,
                          out.attest.Receive(), out.signature.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> CertifyCreation(const Arguments& in) {
  return MakeWork([object = in.Handle("object"), hash = in.Tpm2b<TPM2B_DIGEST>("creationHash"),
                   ticket = in.Structure<TPMT_TK_CREATION>("creationTicket"),
                   a = ReadAttesting(in, 1)](EsysContext& esys) {
    AttestedOut out;
    esys.Call("Esys_CertifyCreation", a.sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_CertifyCreation(c, esys.Resolve(a.signer), esys.Resolve(object), s1, s2, s3, &a.qualifying_data,
                                  &hash, &a.scheme, &ticket, out.attest.Receive(), out.signature.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> Quote(const Arguments& in) {
  return MakeWork([pcrs = in.Structure<TPML_PCR_SELECTION>("pcrSelect"), a = ReadAttesting(in, 1)](EsysContext& esys) {
    AttestedOut out;
    esys.Call("Esys_Quote", a.sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Quote(c, esys.Resolve(a.signer), s1, s2, s3, &a.qualifying_data, &a.scheme, &pcrs,
                        out.attest.Receive(), out.signature.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> NvCertify(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"), size = in.Number<UINT16>("size"),
                   offset = in.Number<UINT16>("offset"), a = ReadAttesting(in, 2)](EsysContext& esys) {
    AttestedOut out;
    esys.Call("Esys_NV_Certify", a.sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_Certify(c, esys.Resolve(a.signer), esys.Resolve(auth), esys.Resolve(index), s1, s2, s3,
                             &a.qualifying_data, &a.scheme, size, offset, out.attest.Receive(),
                             out.signature.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> GetCommandAuditDigest(const Arguments& in) {
  return MakeWork([privacy_admin = in.Handle("privacyAdmin"), a = ReadAttesting(in, 2)](EsysContext& esys) {
    AttestedOut out;
    esys.Call("Esys_GetCommandAuditDigest", a.sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_GetCommandAuditDigest(c, esys.Resolve(privacy_admin), esys.Resolve(a.signer), s1, s2, s3,
                                        &a.qualifying_data, &a.scheme, out.attest.Receive(),
                                        out.signature.Receive());
    });
    return out.ToReply();
  });
}

std::unique_ptr<Work> ActivateCredential(const Arguments& in) {
  return MakeWork([activate = in.Handle("activateHandle"), key = in.Handle("key"),
                   blob = in.Tpm2b<TPM2B_ID_OBJECT>("credentialBlob"),
                   secret = in.Tpm2b<TPM2B_ENCRYPTED_SECRET>("secret"),
                   sessions = in.SessionUses(2)](EsysContext& esys) {
    Out<TPM2B_DIGEST> info;
    esys.Call("Esys_ActivateCredential", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_ActivateCredential(c, esys.Resolve(activate), esys.Resolve(key), s1, s2, s3, &blob, &secret,
                                     info.Receive());
    });
    return Reply().Add("certInfo", Contents(*info, info->buffer));
  });
}

std::unique_ptr<Work> MakeCredential(const Arguments& in) {
  return MakeWork([key = in.Handle("key"), credential = in.Tpm2b<TPM2B_DIGEST>("credential"),
                   name = in.Tpm2b<TPM2B_NAME>("objectName"), sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPM2B_ID_OBJECT> blob;
    Out<TPM2B_ENCRYPTED_SECRET> secret;
    esys.Call("Esys_MakeCredential", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_MakeCredential(c, esys.Resolve(key), s1, s2, s3, &credential, &name, blob.Receive(),
                                 secret.Receive());
    });
    return Reply()
        .Add("credentialBlob", Contents(*blob, blob->credential))
        .Add("secret", Contents(*secret, secret->secret));
  });
}

}  // namespace

void AddAttestCommands(CommandMap& commands) {
  commands["certify"] = Certify;
  commands["certifyCreation"] = CertifyCreation;
  commands["quote"] = Quote;
  commands["nvCertify"] = NvCertify;
  commands["getCommandAuditDigest"] = GetCommandAuditDigest;
  commands["activateCredential"] = ActivateCredential;
  commands["makeCredential"] = MakeCredential;
}

}  // namespace agentkeyd
