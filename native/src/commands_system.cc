// Start-up, capabilities, random octets, PCRs, hierarchies, dictionary attack, command audit status.
#include "commands.h"

namespace agentkeyd {

namespace {

TPM2_SU StartupType(const Arguments& in, const char* name) {
  return in.Choice<TPM2_SU>(name, {{"clear", TPM2_SU_CLEAR}, {"state", TPM2_SU_STATE}});
}

std::unique_ptr<Work> Startup(const Arguments& in) {
  return MakeWork([type = StartupType(in, "startupType")](EsysContext& esys) {
    esys.Call("Esys_Startup", [&](ESYS_CONTEXT* c) { return Esys_Startup(c, type); });
    return Reply();
  });
}

std::unique_ptr<Work> Shutdown(const Arguments& in) {
  return MakeWork([type = StartupType(in, "shutdownType")](EsysContext& esys) {
    esys.Call("Esys_Shutdown", [&](ESYS_CONTEXT* c) {
      return Esys_Shutdown(c, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, type);
    });
    return Reply();
  });
}

std::unique_ptr<Work> SelfTest(const Arguments& in) {
  const TPMI_YES_NO full = in.Boolean("full") ? TPM2_YES : TPM2_NO;
  return MakeWork([full](EsysContext& esys) {
    esys.Call("Esys_SelfTest", [&](ESYS_CONTEXT* c) {
      return Esys_SelfTest(c, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, full);
    });
    return Reply();
  });
}

std::unique_ptr<Work> GetCapability(const Arguments& in) {
  return MakeWork([capability = in.Number<TPM2_CAP>("capability"), property = in.Number<UINT32>("property"),
                   count = in.Number<UINT32>("count"), sessions = in.SessionUses(0)](EsysContext& esys) {
    TPMI_YES_NO more_data = TPM2_NO;
    Out<TPMS_CAPABILITY_DATA> data;
    esys.Call("Esys_GetCapability", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_GetCapability(c, s1, s2, s3, capability, property, count, &more_data, data.Receive());
    });
    return Reply().Add("moreData", more_data == TPM2_YES).Add("capabilityData", Marshal(*data));
  });
}

std::unique_ptr<Work> GetRandom(const Arguments& in) {
  return MakeWork([octets = in.Number<UINT16>("octets"), sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPM2B_DIGEST> random;
    esys.Call("Esys_GetRandom", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_GetRandom(c, s1, s2, s3, octets, random.Receive());
    });
    return Reply().Add("octets", Contents(*random, random->buffer));
  });
}

std::unique_ptr<Work> ReadClock(const Arguments& in) {
  return MakeWork([sessions = in.SessionUses(0)](EsysContext& esys) {
    Out<TPMS_TIME_INFO> time;
    esys.Call("Esys_ReadClock", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_ReadClock(c, s1, s2, s3, time.Receive());
    });
    return Reply().Add("currentTime", Marshal(*time));
  });
}

std::unique_ptr<Work> Clear(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_Clear", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_Clear(c, esys.Resolve(auth), s1, s2, s3);
    });
    return Reply();
  });
}

std::unique_ptr<Work> DictionaryAttackLockReset(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_DictionaryAttackLockReset", sessions,
              [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
                return Esys_DictionaryAttackLockReset(c, esys.Resolve(auth), s1, s2, s3);
              });
    return Reply();
  });
}

std::unique_ptr<Work> HierarchyChangeAuth(const Arguments& in) {
  Wiped<TPM2B_AUTH> new_auth;
  in.CopyTpm2b("newAuth", false, new_auth.get());
  return MakeWork([auth = in.Handle("auth"), new_auth = std::move(new_auth),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_HierarchyChangeAuth", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_HierarchyChangeAuth(c, esys.Resolve(auth), s1, s2, s3, new_auth.get());
    });
    return Reply();
  });
}

std::unique_ptr<Work> PcrRead(const Arguments& in) {
  return MakeWork([selection = in.Structure<TPML_PCR_SELECTION>("pcrSelection"),
                   sessions = in.SessionUses(0)](EsysContext& esys) {
    UINT32 counter = 0;
    Out<TPML_PCR_SELECTION> read;
    Out<TPML_DIGEST> digests;
    esys.Call("Esys_PCR_Read", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PCR_Read(c, s1, s2, s3, &selection, &counter, read.Receive(), digests.Receive());
    });
    std::vector<Octets> values;
    for (UINT32 i = 0; i < digests->count; i++) {
      values.push_back(Contents(digests->digests[i], digests->digests[i].buffer));
    }
    return Reply()
        .Add("pcrUpdateCounter", static_cast<double>(counter))
        .Add("pcrSelection", Marshal(*read))
        .Add("values", std::move(values));
  });
}

std::unique_ptr<Work> PcrExtend(const Arguments& in) {
  return MakeWork([pcr = in.Handle("pcr"), digests = in.Structure<TPML_DIGEST_VALUES>("digests"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_PCR_Extend", sessions, [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
      return Esys_PCR_Extend(c, esys.Resolve(pcr), s1, s2, s3, &digests);
    });
    return Reply();
  });
}

std::unique_ptr<Work> SetCommandCodeAuditStatus(const Arguments& in) {
  return MakeWork([auth = in.Handle("auth"), alg = in.Number<TPMI_ALG_HASH>("auditAlg"),
                   set = in.CommandCodes("setList"), clear = in.CommandCodes("clearList"),
                   sessions = in.SessionUses(1)](EsysContext& esys) {
    esys.Call("Esys_SetCommandCodeAuditStatus", sessions,
              [&](ESYS_CONTEXT* c, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3) {
                return Esys_SetCommandCodeAuditStatus(c, esys.Resolve(auth), s1, s2, s3, alg, &set, &clear);
              });
    return Reply();
  });
}

}  // namespace

void AddSystemCommands(CommandMap& commands) {
  commands["startup"] = Startup;
  commands["shutdown"] = Shutdown;
  commands["selfTest"] = SelfTest;
  commands["getCapability"] = GetCapability;
  commands["getRandom"] = GetRandom;
  commands["readClock"] = ReadClock;
  commands["clear"] = Clear;
  commands["dictionaryAttackLockReset"] = DictionaryAttackLockReset;
  commands["hierarchyChangeAuth"] = HierarchyChangeAuth;
  commands["pcrRead"] = PcrRead;
  commands["pcrExtend"] = PcrExtend;
  commands["setCommandCodeAuditStatus"] = SetCommandCodeAuditStatus;
}

}  // namespace agentkeyd
