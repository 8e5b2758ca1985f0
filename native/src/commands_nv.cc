// Non-volatile storage (TPM 2.0 Part 3, 31).
#include "commands.h"

namespace agentkeyd {

namespace {

std::unique_ptr<Work> NvDefineSpace(const Arguments& in) {
  Wiped<TPM2B_AUTH> index_auth;
  in.CopyTpm2b("indexAuth", true, index_auth.get());
  TPM2B_NV_PUBLIC info{};
  info.nvPublic = in.Structure<TPMS_NV_PUBLIC>("publicInfo");
  return MakeWork([auth = in.Handle("auth"), index_auth = std::move(index_auth), info,
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_NV_DefineSpace", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_DefineSpace(c, esys.Resolve(auth), s1, s2, s3, index_auth.get(), &info, &tr);
    });
    return Reply().Add("handle", NewHandle{esys.handles().Add(tr, HandleKind::kNv), HandleKind::kNv});
  });
}

std::unique_ptr<Work> NvUndefineSpace(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_UndefineSpace", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      const ESYS_TR tr = esys.Resolve(index);
      const TSS2_RC rc = Esys_NV_UndefineSpace(c, esys.Resolve(auth), tr, s1, s2, s3);
      if (rc == TSS2_RC_SUCCESS) esys.handles().RemoveAll(tr);  // ESYS has closed it
      return rc;
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvRead(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"), size = in.Number<UINT16>("size"),
                   offset = in.Number<UINT16>("offset"), sessions = in.SessionUses(1)](EsysContext& esys) {
    Out<TPM2B_MAX_NV_BUFFER> data;
    esys.Call("Esys_NV_Read", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_Read(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3, size, offset, data.Receive());
    });
    return Reply().Add("data", Contents(*data, data->buffer));
  });
}

std::unique_ptr<Work> NvWrite(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"),
                   data = in.Tpm2b<TPM2B_MAX_NV_BUFFER>("data"), offset = in.Number<UINT16>("offset"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_Write", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_Write(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3, &data, offset);
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvExtend(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"),
                   data = in.Tpm2b<TPM2B_MAX_NV_BUFFER>("data"), sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_Extend", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_Extend(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3, &data);
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvSetBits(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"), bits = in.Uint64("bits"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_SetBits", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_SetBits(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3, bits);
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvIncrement(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_Increment", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_Increment(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3);
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvWriteLock(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), index = in.Handle("nvIndex"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_NV_WriteLock", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_WriteLock(c, esys.Resolve(auth), esys.Resolve(index), s1, s2, s3);
    });
    return Reply();
  });
}

std::unique_ptr<Work> NvReadPublic(const Arguments& in) {
  return MakeWork([index = in.Handle("nvIndex"), sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPM2B_NV_PUBLIC> info;
    Out<TPM2B_NAME> name;
    esys.Call("Esys_NV_ReadPublic", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_NV_ReadPublic(c, esys.Resolve(index), s1, s2, s3, info.Receive(), name.Receive());
    });
    return Reply().Add("nvPublic", Marshal(info->nvPublic)).Add("name", Contents(*name, name->name));
  });
}

}  // namespace

void AddNvCommands(CommandMap& commands) {
  commands["nvDefineSpace"] = NvDefineSpace;
  commands["nvUndefineSpace"] = NvUndefineSpace;
  commands["nvRead"] = NvRead;
  commands["nvWrite"] = NvWrite;
  commands["nvExtend"] = NvExtend;
  commands["nvSetBits"] = NvSetBits;
  commands["nvIncrement"] = NvIncrement;
  commands["nvWriteLock"] = NvWriteLock;
  commands["nvReadPublic"] = NvReadPublic;
}

}  // namespace agentkeyd
