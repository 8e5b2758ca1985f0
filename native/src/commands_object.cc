// Objects: make, load, read, change, unseal (TPM 2.0 Part 3, 12 and 24).
#include "commands.h"

namespace agentkeyd {

namespace {

Wiped<TPM2B_SENSITIVE_CREATE> SensitiveCreate(const Arguments& in) {
  Wiped<TPM2B_SENSITIVE_CREATE> result;
  in.CopyTpm2b("userAuth", true, &result->sensitive.userAuth);
  in.CopyTpm2b("sensitiveData", true, &result->sensitive.data);
  return result;
}

NewHandle Transient(EsysContext& esys, ESYS_TR tr) {
  return NewHandle{esys.handles().Add(tr, HandleKind::kTransient), HandleKind::kTransient};
}

// What TPM2_Create and TPM2_CreatePrimary answer both.
struct CreationOut {
  Out<TPM2B_PUBLIC> out_public;
  Out<TPM2B_CREATION_DATA> data;
  Out<TPM2B_DIGEST> hash;
  Out<TPMT_TK_CREATION> ticket;

  Reply ToReply() const {
    return Reply()
        .Add("outPublic", Marshal(out_public->publicArea))
        .Add("creationData", Marshal(data->creationData))
        .Add("creationHash", Contents(*hash, hash->buffer))
        .Add("creationTicket", Marshal(*ticket));
  }
};

std::unique_ptr<Work> CreatePrimary(const Arguments& in) {
  return MakeWork([parent = in.Handle("parent"), sensitive = SensitiveCreate(in), in_public = in.Public("inPublic"),
                   outside = in.Tpm2b<TPM2B_DATA>("outsideInfo", true),
                   pcrs = in.StructureOr<TPML_PCR_SELECTION>("creationPcr", {}),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    CreationOut out;
    esys.Call("Esys_CreatePrimary", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_CreatePrimary(c, esys.Resolve(parent), s1, s2, s3, sensitive.get(), &in_public, &outside, &pcrs,
                                &tr, out.out_public.Receive(), out.data.Receive(), out.hash.Receive(),
                                out.ticket.Receive());
    });
    return out.ToReply().Add("handle", Transient(esys, tr));
  });
}

std::unique_ptr<Work> Create(const Arguments& in) {
  return MakeWork([parent = in.Handle("parent"), sensitive = SensitiveCreate(in), in_public = in.Public("inPublic"),
                   outside = in.Tpm2b<TPM2B_DATA>("outsideInfo", true),
                   pcrs = in.StructureOr<TPML_PCR_SELECTION>("creationPcr", {}),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    Out<TPM2B_PRIVATE> out_private;
    CreationOut out;
    esys.Call("Esys_Create", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Create(c, esys.Resolve(parent), s1, s2, s3, sensitive.get(), &in_public, &outside, &pcrs,
                         out_private.Receive(), out.out_public.Receive(), out.data.Receive(), out.hash.Receive(),
                         out.ticket.Receive());
    });
    return out.ToReply().Add("outPrivate", Contents(*out_private, out_private->buffer));
  });
}

std::unique_ptr<Work> CreateLoaded(const Arguments& in) {
  return MakeWork([parent = in.Handle("parent"), sensitive = SensitiveCreate(in),
                   in_public = in.Tpm2b<TPM2B_TEMPLATE>("inPublic"), sessions = in.SessionUses(1)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    Out<TPM2B_PRIVATE> out_private;
    Out<TPM2B_PUBLIC> out_public;
    esys.Call("Esys_CreateLoaded", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_CreateLoaded(c, esys.Resolve(parent), s1, s2, s3, sensitive.get(), &in_public, &tr,
                               out_private.Receive(), out_public.Receive());
    });
    return Reply()
        .Add("outPrivate", Contents(*out_private, out_private->buffer))
        .Add("outPublic", Marshal(out_public->publicArea))
        .Add("handle", Transient(esys, tr));
  });
}

std::unique_ptr<Work> Load(const Arguments& in) {
  return MakeWork([parent = in.Handle("parent"), in_private = in.Tpm2b<TPM2B_PRIVATE>("inPrivate"),
                   in_public = in.Public("inPublic"), sessions = in.SessionUses(1)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_Load", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Load(c, esys.Resolve(parent), s1, s2, s3, &in_private, &in_public, &tr);
    });
    return Reply().Add("handle", Transient(esys, tr));
  });
}

std::unique_ptr<Work> LoadExternal(const Arguments& in) {
  const bool has_private = in.Has("inPrivate");
  Wiped<TPM2B_SENSITIVE> in_private;
  if (has_private) in.CopyStructure("inPrivate", &in_private->sensitiveArea);
  return MakeWork([has_private, in_private = std::move(in_private), in_public = in.Public("inPublic"),
                   hierarchy = in.Handle("hierarchy"), sessions = in.SessionUses(0)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_LoadExternal", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_LoadExternal(c, s1, s2, s3, has_private ? in_private.get() : nullptr, &in_public,
                               esys.Resolve(hierarchy), &tr);
    });
    return Reply().Add("handle", Transient(esys, tr));
  });
}

std::unique_ptr<Work> ReadPublic(const Arguments& in) {
  return MakeWork([object = in.Handle("object"), sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPM2B_PUBLIC> out_public;
    Out<TPM2B_NAME> name;
    Out<TPM2B_NAME> qualified_name;
    esys.Call("Esys_ReadPublic", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_ReadPublic(c, esys.Resolve(object), s1, s2, s3, out_public.Receive(), name.Receive(),
                             qualified_name.Receive());
    });
    return Reply()
        .Add("outPublic", Marshal(out_public->publicArea))
        .Add("name", Contents(*name, name->name))
        .Add("qualifiedName", Contents(*qualified_name, qualified_name->name));
  });
}

std::unique_ptr<Work> ObjectChangeAuth(const Arguments& in) {
  Wiped<TPM2B_AUTH> new_auth;
  in.CopyTpm2b("newAuth", false, new_auth.get());
  return MakeWork([object = in.Handle("object"), parent = in.Handle("parent"), new_auth = std::move(new_auth),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    Out<TPM2B_PRIVATE> out_private;
    esys.Call("Esys_ObjectChangeAuth", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_ObjectChangeAuth(c, esys.Resolve(object), esys.Resolve(parent), s1, s2, s3, new_auth.get(),
                                   out_private.Receive());
    });
    return Reply().Add("outPrivate", Contents(*out_private, out_private->buffer));
  });
}

std::unique_ptr<Work> Unseal(const Arguments& in) {
  return MakeWork([object = in.Handle("object"), sessions = in.SessionUses(1)](EsysContext& esys) {
    Out<TPM2B_SENSITIVE_DATA> data;
    esys.Call("Esys_Unseal", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Unseal(c, esys.Resolve(object), s1, s2, s3, data.Receive());
    });
    return Reply().Add("outData", Contents(*data, data->buffer));
  });
}

}  // namespace

void AddObjectCommands(CommandMap& commands) {
  commands["createPrimary"] = CreatePrimary;
  commands["create"] = Create;
  commands["createLoaded"] = CreateLoaded;
  commands["load"] = Load;
  commands["loadExternal"] = LoadExternal;
  commands["readPublic"] = ReadPublic;
  commands["objectChangeAuth"] = ObjectChangeAuth;
  commands["unseal"] = Unseal;
}

}  // namespace agentkeyd
