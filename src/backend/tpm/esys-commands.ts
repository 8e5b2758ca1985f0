/** One method per ESYS command: what goes in, what comes out. The name says the C function. */
import type * as t from './esys-types.ts';
import type { EsysHandle, WithSessions } from './esys-handle.ts';

/** The commands over any transport; `EsysConnection` is the one there is. */
export abstract class EsysCommands {
  /** @param signal takes the command back as long as the TPM has not begun it */
  protected abstract run<T>(command: string, args: object, signal?: AbortSignal): Promise<T>;

  /** Esys_Startup. `clear` is TPM Reset or Restart, `state` TPM Resume. */
  async startup(startupType: 'clear' | 'state'): Promise<void> {
    await this.run('startup', { startupType });
  }

  /** Esys_Shutdown. */
  async shutdown(shutdownType: 'clear' | 'state'): Promise<void> {
    await this.run('shutdown', { shutdownType });
  }

  /** Esys_SelfTest. */
  async selfTest(full: boolean): Promise<void> {
    await this.run('selfTest', { full });
  }

  /** Esys_GetCapability: `capability` is a TPM_CAP. */
  getCapability(args: {
    readonly capability: number;
    readonly property: number;
    readonly count: number;
  }): Promise<t.CapabilityReply> {
    return this.run('getCapability', args);
  }

  /** Esys_GetRandom: at most 64 octets; the TPM may return fewer. */
  async getRandom(octets: number): Promise<Buffer> {
    return (await this.run<{ octets: Buffer }>('getRandom', { octets })).octets;
  }

  /** Esys_ReadClock: TPMS_TIME_INFO. */
  async readClock(): Promise<Buffer> {
    return (await this.run<{ currentTime: Buffer }>('readClock', {})).currentTime;
  }

  /** Esys_Clear: destroys the owner's keys. */
  async clear(args: WithSessions & { readonly auth: EsysHandle }): Promise<void> {
    await this.run('clear', args);
  }

  /** Esys_DictionaryAttackLockReset. */
  async dictionaryAttackLockReset(args: WithSessions & { readonly auth: EsysHandle }): Promise<void> {
    await this.run('dictionaryAttackLockReset', args);
  }

  /** Esys_HierarchyChangeAuth. */
  async hierarchyChangeAuth(
    args: WithSessions & { readonly auth: EsysHandle; readonly newAuth: Uint8Array },
  ): Promise<void> {
    await this.run('hierarchyChangeAuth', args);
  }

  /** Esys_CreatePrimary. */
  createPrimary(args: t.CreateArguments): Promise<t.CreatedPrimary> {
    return this.run('createPrimary', args);
  }

  /** Esys_Create. */
  create(args: t.CreateArguments): Promise<t.Created> {
    return this.run('create', args);
  }

  /** Esys_CreateLoaded. */
  createLoaded(args: t.CreateLoadedArguments): Promise<t.CreatedLoaded> {
    return this.run('createLoaded', args);
  }

  /** Esys_Load. */
  async load(args: t.LoadArguments): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('load', args)).handle;
  }

  /** Esys_LoadExternal. */
  async loadExternal(args: t.LoadExternalArguments): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('loadExternal', args)).handle;
  }

  /** Esys_FlushContext: the handle is void afterwards. */
  async flushContext(handle: EsysHandle): Promise<void> {
    await this.run('flushContext', { handle });
  }

  /** Esys_ContextSave: TPMS_CONTEXT. A saved session's handle is void afterwards. */
  async contextSave(handle: EsysHandle): Promise<Buffer> {
    return (await this.run<{ context: Buffer }>('contextSave', { handle })).context;
  }

  /** Esys_ContextLoad of what `contextSave` returned. */
  async contextLoad(context: Uint8Array): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('contextLoad', { context })).handle;
  }

  /** Esys_EvictControl: the persistent object, or undefined after an eviction. */
  async evictControl(args: t.EvictControlArguments): Promise<EsysHandle | undefined> {
    return (await this.run<{ handle?: EsysHandle }>('evictControl', args)).handle;
  }

  /** Esys_ReadPublic. */
  readPublic(args: WithSessions & { readonly object: EsysHandle }): Promise<t.ReadPublicReply> {
    return this.run('readPublic', args);
  }

  /** Esys_ObjectChangeAuth: contents of the new TPM2B_PRIVATE. */
  async objectChangeAuth(args: t.ObjectChangeAuthArguments): Promise<Buffer> {
    return (await this.run<{ outPrivate: Buffer }>('objectChangeAuth', args)).outPrivate;
  }

  /** Esys_Unseal. */
  async unseal(args: WithSessions & { readonly object: EsysHandle }): Promise<Buffer> {
    return (await this.run<{ outData: Buffer }>('unseal', args)).outData;
  }

  /** Esys_Sign: TPMT_SIGNATURE. @throws KeydError `caller_gone` or the signal's own, if it waited still */
  async sign(args: t.SignArguments, signal?: AbortSignal): Promise<Buffer> {
    return (await this.run<{ signature: Buffer }>('sign', args, signal)).signature;
  }

  /** Esys_VerifySignature: TPMT_TK_VERIFIED. */
  async verifySignature(args: t.VerifySignatureArguments): Promise<Buffer> {
    return (await this.run<{ validation: Buffer }>('verifySignature', args)).validation;
  }

  /** Esys_Hash: at most 1024 octets. */
  hash(args: t.HashArguments): Promise<t.Hashed> {
    return this.run('hash', args);
  }

  /** Esys_Certify. */
  certify(args: t.CertifyArguments): Promise<t.Attested> {
    return this.run('certify', args);
  }

  /** Esys_CertifyCreation. */
  certifyCreation(args: t.CertifyCreationArguments): Promise<t.Attested> {
    return this.run('certifyCreation', args);
  }

  /** Esys_Quote. */
  quote(args: t.QuoteArguments): Promise<t.Attested> {
    return this.run('quote', args);
  }

  /** Esys_ActivateCredential: the credential. */
  async activateCredential(args: t.ActivateCredentialArguments): Promise<Buffer> {
    return (await this.run<{ certInfo: Buffer }>('activateCredential', args)).certInfo;
  }

  /** Esys_MakeCredential. */
  makeCredential(args: t.MakeCredentialArguments): Promise<t.MadeCredential> {
    return this.run('makeCredential', args);
  }

  /** Esys_SetCommandCodeAuditStatus. */
  async setCommandCodeAuditStatus(args: t.CommandAuditStatusArguments): Promise<void> {
    await this.run('setCommandCodeAuditStatus', args);
  }

  /** Esys_GetCommandAuditDigest. */
  getCommandAuditDigest(args: t.GetCommandAuditDigestArguments): Promise<t.Attested> {
    return this.run('getCommandAuditDigest', args);
  }

  /** Esys_StartAuthSession; the TSS makes the nonce and the salt. */
  async startAuthSession(args: t.StartAuthSessionArguments): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('startAuthSession', args)).handle;
  }

  /**
   * Sends a whole command of the caller's making past ESYS, over the same TCTI and in the same order, and gives the whole
   * response (Tss2_Tcti_Transmit, Tss2_Tcti_Receive). The TPM handle of `object` is put in the first place of its
   * handle area. The response may carry a TPM_RC other than success.
   */
  async transmit(
    args: { readonly object: EsysHandle; readonly command: Uint8Array },
    signal?: AbortSignal,
  ): Promise<Buffer> {
    return (await this.run<{ response: Buffer }>('transmit', args, signal)).response;
  }

  /** Esys_TRSess_GetNonceTPM: the nonce that the TPM sent last. */
  async sessionNonce(session: EsysHandle): Promise<Buffer> {
    return (await this.run<{ nonceTpm: Buffer }>('sessionNonce', { session })).nonceTpm;
  }

  /** Esys_PolicySecret. */
  policySecret(args: t.PolicySecretArguments): Promise<t.PolicyTicket> {
    return this.run('policySecret', args);
  }

  /** Esys_PolicySigned. */
  policySigned(args: t.PolicySignedArguments): Promise<t.PolicyTicket> {
    return this.run('policySigned', args);
  }

  /** Esys_PolicyPCR. */
  async policyPcr(args: t.PolicyPcrArguments): Promise<void> {
    await this.run('policyPcr', args);
  }

  /** Esys_PolicyOR. */
  async policyOr(args: t.PolicyOrArguments): Promise<void> {
    await this.run('policyOr', args);
  }

  /** Esys_PolicyAuthorize. */
  async policyAuthorize(args: t.PolicyAuthorizeArguments): Promise<void> {
    await this.run('policyAuthorize', args);
  }

  /** Esys_PolicyNV. */
  async policyNv(args: t.PolicyNvArguments): Promise<void> {
    await this.run('policyNv', args);
  }

  /** Esys_PolicyAuthValue. */
  async policyAuthValue(policySession: EsysHandle): Promise<void> {
    await this.run('policyAuthValue', { policySession });
  }

  /** Esys_PolicyCommandCode: `code` is a TPM_CC. */
  async policyCommandCode(policySession: EsysHandle, code: number): Promise<void> {
    await this.run('policyCommandCode', { policySession, code });
  }

  /** Esys_PolicyGetDigest. */
  async policyGetDigest(policySession: EsysHandle): Promise<Buffer> {
    return (await this.run<{ policyDigest: Buffer }>('policyGetDigest', { policySession })).policyDigest;
  }

  /** Esys_PolicyRestart. */
  async policyRestart(session: EsysHandle): Promise<void> {
    await this.run('policyRestart', { session });
  }

  /** Esys_PCR_Read: `pcrSelection` is a TPML_PCR_SELECTION. */
  pcrRead(pcrSelection: Uint8Array): Promise<t.PcrReadReply> {
    return this.run('pcrRead', { pcrSelection });
  }

  /** Esys_PCR_Extend: `digests` is a TPML_DIGEST_VALUES. */
  async pcrExtend(
    args: WithSessions & { readonly pcr: EsysHandle; readonly digests: Uint8Array },
  ): Promise<void> {
    await this.run('pcrExtend', args);
  }

  /** Esys_NV_DefineSpace. */
  async nvDefineSpace(args: t.NvDefineSpaceArguments): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('nvDefineSpace', args)).handle;
  }

  /** Esys_NV_UndefineSpace: the index's handle is void afterwards. */
  async nvUndefineSpace(args: t.NvArguments): Promise<void> {
    await this.run('nvUndefineSpace', args);
  }

  /** Esys_NV_Read: at most TPM_PT_NV_BUFFER_MAX octets. */
  async nvRead(args: t.NvReadArguments): Promise<Buffer> {
    return (await this.run<{ data: Buffer }>('nvRead', args)).data;
  }

  /** Esys_NV_Write. */
  async nvWrite(args: t.NvWriteArguments): Promise<void> {
    await this.run('nvWrite', args);
  }

  /** Esys_NV_Increment. */
  async nvIncrement(args: t.NvArguments): Promise<void> {
    await this.run('nvIncrement', args);
  }

  /** Esys_NV_Extend. */
  async nvExtend(args: t.NvExtendArguments): Promise<void> {
    await this.run('nvExtend', args);
  }

  /** Esys_NV_SetBits. */
  async nvSetBits(args: t.NvSetBitsArguments): Promise<void> {
    await this.run('nvSetBits', args);
  }

  /** Esys_NV_WriteLock. */
  async nvWriteLock(args: t.NvArguments): Promise<void> {
    await this.run('nvWriteLock', args);
  }

  /** Esys_NV_Certify. */
  nvCertify(args: t.NvCertifyArguments): Promise<t.Attested> {
    return this.run('nvCertify', args);
  }

  /** Esys_NV_ReadPublic. */
  nvReadPublic(args: WithSessions & { readonly nvIndex: EsysHandle }): Promise<t.NvReadPublicReply> {
    return this.run('nvReadPublic', args);
  }

  /** Esys_TR_FromTPMPublic: a handle for what the TPM knows by `tpmHandle` (persistent, NV, transient). */
  async fromTpmHandle(args: WithSessions & { readonly tpmHandle: number }): Promise<EsysHandle> {
    return (await this.run<{ handle: EsysHandle }>('fromTpmHandle', args)).handle;
  }

  /** Esys_TR_GetName. */
  async getName(handle: EsysHandle): Promise<Buffer> {
    return (await this.run<{ name: Buffer }>('getName', { handle })).name;
  }

  /** Esys_TR_SetAuth: the auth value that the TSS uses for this handle; the addon wipes its copy. */
  async setAuth(args: { readonly handle: EsysHandle; readonly auth: Uint8Array }): Promise<void> {
    await this.run('setAuth', args);
  }

  /** Esys_TR_Close: forgets a handle without a TPM command. */
  async closeHandle(handle: EsysHandle): Promise<void> {
    await this.run('closeHandle', { handle });
  }
}
