// Handles: from the TPM, to and from contexts and persistence, names and auth values.
#include "commands.h"

namespace agentkeyd {

namespace {

std::unique_ptr<Work> FlushContext(const Arguments& in) {
  return MakeWork([handle = in.Handle("handle")](EsysContext& esys) {
    esys.Call("Esys_FlushContext", [&](ESYS_CONTEXT* c) {
      const ESYS_TR tr = esys.Resolve(handle);
      const TSS2_RC rc = Esys_FlushContext(c, tr);
      if (rc == TSS2_RC_SUCCESS) esys.handles().RemoveAll(tr);
      return rc;
    });
    return Reply();
  });
}

std::unique_ptr<Work> ContextSave(const Arguments& in) {
  return MakeWork([handle = in.Handle("handle")](EsysContext& esys) {
    Out<TPMS_CONTEXT> context;
    esys.Call("Esys_ContextSave", [&](ESYS_CONTEXT* c) {
      const HandleTable::Entry entry = esys.handles().Find(handle);
      const TSS2_RC rc = Esys_ContextSave(c, entry.tr, context.Receive());
      // ESYS has closed the ESYS_TR of a saved session.
      if (rc == TSS2_RC_SUCCESS && entry.kind == HandleKind::kSession) esys.handles().RemoveAll(entry.tr);
      return rc;
    });
    return Reply().Add("context", Marshal(*context));
  });
}

std::unique_ptr<Work> ContextLoad(const Arguments& in) {
  return MakeWork([context = in.Structure<TPMS_CONTEXT>("context")](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_ContextLoad", [&](ESYS_CONTEXT* c) { return Esys_ContextLoad(c, &context, &tr); });
    const HandleKind kind = HandleKindOf(context.savedHandle);
    return Reply().Add("handle", NewHandle{esys.handles().Add(tr, kind), kind});
  });
}

std::unique_ptr<Work> EvictControl(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), object = in.Handle("object"),
                   persistent = in.Number<TPMI_DH_PERSISTENT>("persistentHandle"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    ESYS_TR made = ESYS_TR_NONE;
    ESYS_TR evicted = ESYS_TR_NONE;
    esys.Call("Esys_EvictControl", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      evicted = esys.Resolve(object);
      return Esys_EvictControl(c, esys.Resolve(auth), evicted, s1, s2, s3, persistent, &made);
    });
    if (made != ESYS_TR_NONE) {
      const HandleKind kind = HandleKind::kPersistent;
      return Reply().Add("handle", NewHandle{esys.handles().Add(made, kind), kind});
    }
    // ESYS keeps the ESYS_TR of what is no longer there.
    esys.handles().RemoveAll(evicted);
    esys.Call("Esys_TR_Close", [&](ESYS_CONTEXT* c) { return Esys_TR_Close(c, &evicted); });
    return Reply();
  });
}

std::unique_ptr<Work> FromTpmHandle(const Arguments& in) {
  return MakeWork([tpm_handle = in.Number<TPM2_HANDLE>("tpmHandle"), sessions = in.SessionUses(0)](EsysContext& esys) {
    ESYS_TR tr = ESYS_TR_NONE;
    esys.Call("Esys_TR_FromTPMPublic", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_TR_FromTPMPublic(c, tpm_handle, s1, s2, s3, &tr);
    });
    const HandleKind kind = HandleKindOf(tpm_handle);
    return Reply().Add("handle", NewHandle{esys.handles().Add(tr, kind), kind});
  });
}

std::unique_ptr<Work> GetName(const Arguments& in) {
  return MakeWork([handle = in.Handle("handle")](EsysContext& esys) {
    Out<TPM2B_NAME> name;
    esys.Call("Esys_TR_GetName", [&](ESYS_CONTEXT* c) {
      return Esys_TR_GetName(c, esys.Resolve(handle), name.Receive());
    });
    return Reply().Add("name", Contents(*name, name->name));
  });
}

std::unique_ptr<Work> SetAuth(const Arguments& in) {
  Wiped<TPM2B_AUTH> auth;
  in.CopyTpm2b("auth", false, auth.get());
  return MakeWork([handle = in.Handle("handle"), auth = std::move(auth)](EsysContext& esys) {
    esys.Call("Esys_TR_SetAuth", [&](ESYS_CONTEXT* c) {
      return Esys_TR_SetAuth(c, esys.Resolve(handle), auth.get());
    });
    return Reply();
  });
}

std::unique_ptr<Work> CloseHandle(const Arguments& in) {
  return MakeWork([handle = in.Handle("handle")](EsysContext& esys) {
    esys.Call("Esys_TR_Close", [&](ESYS_CONTEXT* c) -> TSS2_RC {
      ESYS_TR tr = esys.Resolve(handle);
      return esys.handles().Remove(handle) ? Esys_TR_Close(c, &tr) : TSS2_RC_SUCCESS;
    });
    return Reply();
  });
}

}  // namespace

void AddHandleCommands(CommandMap& commands) {
  commands["flushContext"] = FlushContext;
  commands["contextSave"] = ContextSave;
  commands["contextLoad"] = ContextLoad;
  commands["evictControl"] = EvictControl;
  commands["fromTpmHandle"] = FromTpmHandle;
  commands["getName"] = GetName;
  commands["setAuth"] = SetAuth;
  commands["closeHandle"] = CloseHandle;
}

}  // namespace agentkeyd
