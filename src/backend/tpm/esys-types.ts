/**
 * Arguments and replies of the ESYS commands. Structures are marshalled TPM octets (TPM 2.0 Part 2);
 * a TPM2B is given and returned without its size prefix. `wire/tpm` reads and writes them.
 */

import type { EsysHandle, WithSessions } from './esys-handle.ts';

interface Sensitive {
  /** Auth value of the new object; empty if absent. The addon wipes its copy. */
  readonly userAuth?: Uint8Array;
  /** Data to seal (KEYEDHASH); empty if absent. */
  readonly sensitiveData?: Uint8Array;
}

export interface CreateArguments extends WithSessions, Sensitive {
  /** Hierarchy for `createPrimary`, storage key for `create`. */
  readonly parent: EsysHandle;
  /** TPMT_PUBLIC. */
  readonly inPublic: Uint8Array;
  readonly outsideInfo?: Uint8Array;
  /** TPML_PCR_SELECTION; none if absent. */
  readonly creationPcr?: Uint8Array;
}

export interface Creation {
  /** TPMT_PUBLIC. */
  readonly outPublic: Buffer;
  /** TPMS_CREATION_DATA. */
  readonly creationData: Buffer;
  readonly creationHash: Buffer;
  /** TPMT_TK_CREATION. */
  readonly creationTicket: Buffer;
}

export interface CreatedPrimary extends Creation {
  readonly handle: EsysHandle;
}

export interface Created extends Creation {
  /** Contents of TPM2B_PRIVATE. */
  readonly outPrivate: Buffer;
}

export interface CreateLoadedArguments extends WithSessions, Sensitive {
  readonly parent: EsysHandle;
  /** Contents of TPM2B_TEMPLATE: a TPMT_PUBLIC. */
  readonly inPublic: Uint8Array;
}

export interface CreatedLoaded {
  readonly handle: EsysHandle;
  readonly outPrivate: Buffer;
  readonly outPublic: Buffer;
}

export interface LoadArguments extends WithSessions {
  readonly parent: EsysHandle;
  /** Contents of TPM2B_PRIVATE. */
  readonly inPrivate: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly inPublic: Uint8Array;
}

export interface LoadExternalArguments extends WithSessions {
  /** TPMT_SENSITIVE; only a public area is loaded if absent. */
  readonly inPrivate?: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly inPublic: Uint8Array;
  readonly hierarchy: EsysHandle;
}

export interface EvictControlArguments extends WithSessions {
  /** `PERMANENT.owner` or `PERMANENT.platform`. */
  readonly auth: EsysHandle;
  /** A transient object to make persistent, or a persistent one to evict. */
  readonly object: EsysHandle;
  /** TPM handle 0x81xxxxxx. */
  readonly persistentHandle: number;
}

export interface ObjectChangeAuthArguments extends WithSessions {
  readonly object: EsysHandle;
  readonly parent: EsysHandle;
  readonly newAuth: Uint8Array;
}

export interface ReadPublicReply {
  /** TPMT_PUBLIC. */
  readonly outPublic: Buffer;
  readonly name: Buffer;
  readonly qualifiedName: Buffer;
}

export interface SignArguments extends WithSessions {
  readonly key: EsysHandle;
  readonly digest: Uint8Array;
  /** TPMT_SIG_SCHEME; TPM_ALG_NULL (the key's own scheme) if absent. */
  readonly inScheme?: Uint8Array;
  /** TPMT_TK_HASHCHECK; the null ticket if absent. A restricted key needs a real one. */
  readonly validation?: Uint8Array;
}

export interface VerifySignatureArguments extends WithSessions {
  readonly key: EsysHandle;
  readonly digest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
}

export interface HashArguments extends WithSessions {
  readonly data: Uint8Array;
  /** TPM_ALG_ID. */
  readonly hashAlg: number;
  readonly hierarchy: EsysHandle;
}

export interface Hashed {
  readonly digest: Buffer;
  /** TPMT_TK_HASHCHECK. */
  readonly validation: Buffer;
}

/** `signer` signs with its own scheme unless `inScheme` (TPMT_SIG_SCHEME) is given. */
interface Attesting extends WithSessions {
  readonly signer: EsysHandle;
  /** Becomes `extraData`; at most 64 octets. */
  readonly qualifyingData: Uint8Array;
  readonly inScheme?: Uint8Array;
}

/** shandle1 authorises `object`, shandle2 `signer`. */
export interface CertifyArguments extends Attesting {
  readonly object: EsysHandle;
}

export interface CertifyCreationArguments extends Attesting {
  readonly object: EsysHandle;
  readonly creationHash: Uint8Array;
  /** TPMT_TK_CREATION. */
  readonly creationTicket: Uint8Array;
}

export interface QuoteArguments extends Attesting {
  /** TPML_PCR_SELECTION. */
  readonly pcrSelect: Uint8Array;
}

/** shandle1 authorises `signer`, shandle2 `auth`. */
export interface NvCertifyArguments extends Attesting {
  readonly auth: EsysHandle;
  readonly nvIndex: EsysHandle;
  readonly size: number;
  readonly offset: number;
}

/** shandle1 authorises `privacyAdmin` (the endorsement hierarchy), shandle2 `signer`. */
export interface GetCommandAuditDigestArguments extends Attesting {
  readonly privacyAdmin: EsysHandle;
}

export interface Attested {
  /** TPMS_ATTEST. */
  readonly attest: Buffer;
  /** TPMT_SIGNATURE. */
  readonly signature: Buffer;
}

/** shandle1 authorises `activateHandle` (the AK, ADMIN role), shandle2 `key` (the EK). */
export interface ActivateCredentialArguments extends WithSessions {
  readonly activateHandle: EsysHandle;
  readonly key: EsysHandle;
  /** Contents of TPM2B_ID_OBJECT. */
  readonly credentialBlob: Uint8Array;
  /** Contents of TPM2B_ENCRYPTED_SECRET. */
  readonly secret: Uint8Array;
}

export interface MakeCredentialArguments extends WithSessions {
  readonly key: EsysHandle;
  readonly credential: Uint8Array;
  readonly objectName: Uint8Array;
}

export interface MadeCredential {
  readonly credentialBlob: Buffer;
  readonly secret: Buffer;
}

export interface StartAuthSessionArguments extends WithSessions {
  readonly type: 'hmac' | 'policy' | 'trial';
  /** Key that the salt is encrypted to; unsalted if absent. */
  readonly tpmKey?: EsysHandle;
  readonly bind?: EsysHandle;
  readonly symmetric: 'aes-128-cfb' | 'none';
  /** TPM_ALG_ID. */
  readonly authHash: number;
}

export interface PolicySecretArguments extends WithSessions {
  readonly auth: EsysHandle;
  readonly policySession: EsysHandle;
  readonly nonceTpm?: Uint8Array;
  readonly cpHashA?: Uint8Array;
  readonly policyRef?: Uint8Array;
  /** Seconds, negative for a ticket; 0 if absent. */
  readonly expiration?: number;
}

export interface PolicySignedArguments extends WithSessions {
  readonly auth: EsysHandle;
  readonly policySession: EsysHandle;
  readonly nonceTpm?: Uint8Array;
  readonly cpHashA?: Uint8Array;
  readonly policyRef?: Uint8Array;
  readonly expiration?: number;
  /** TPMT_SIGNATURE over the authorisation hash. */
  readonly signature: Uint8Array;
}

export interface PolicyTicket {
  readonly timeout: Buffer;
  /** TPMT_TK_AUTH. */
  readonly ticket: Buffer;
}

export interface PolicyPcrArguments extends WithSessions {
  readonly policySession: EsysHandle;
  /** Empty if absent: the current PCR values count. */
  readonly pcrDigest?: Uint8Array;
  /** TPML_PCR_SELECTION. */
  readonly pcrs: Uint8Array;
}

export interface PolicyOrArguments extends WithSessions {
  readonly policySession: EsysHandle;
  /** Two to eight policy digests. */
  readonly branches: readonly Uint8Array[];
}

export interface PolicyAuthorizeArguments extends WithSessions {
  readonly policySession: EsysHandle;
  readonly approvedPolicy: Uint8Array;
  readonly policyRef?: Uint8Array;
  /** Name of the authorising key. */
  readonly keySign: Uint8Array;
  /** TPMT_TK_VERIFIED. */
  readonly checkTicket: Uint8Array;
}

export interface PolicyNvArguments extends WithSessions {
  readonly auth: EsysHandle;
  readonly nvIndex: EsysHandle;
  readonly policySession: EsysHandle;
  readonly operandB: Uint8Array;
  readonly offset: number;
  /** TPM_EO. */
  readonly operation: number;
}

export interface PcrReadReply {
  readonly pcrUpdateCounter: number;
  /** TPML_PCR_SELECTION of what was read; the TPM returns at most eight values at once. */
  readonly pcrSelection: Buffer;
  readonly values: readonly Buffer[];
}

export interface NvDefineSpaceArguments extends WithSessions {
  readonly auth: EsysHandle;
  readonly indexAuth?: Uint8Array;
  /** TPMS_NV_PUBLIC. */
  readonly publicInfo: Uint8Array;
}

export interface NvArguments extends WithSessions {
  /** The hierarchy or the index itself. */
  readonly auth: EsysHandle;
  readonly nvIndex: EsysHandle;
}

export interface NvReadArguments extends NvArguments {
  readonly size: number;
  readonly offset: number;
}

export interface NvWriteArguments extends NvArguments {
  readonly data: Uint8Array;
  readonly offset: number;
}

export interface NvExtendArguments extends NvArguments {
  readonly data: Uint8Array;
}

export interface NvSetBitsArguments extends NvArguments {
  readonly bits: bigint;
}

export interface NvReadPublicReply {
  /** TPMS_NV_PUBLIC. */
  readonly nvPublic: Buffer;
  readonly name: Buffer;
}

export interface CommandAuditStatusArguments extends WithSessions {
  readonly auth: EsysHandle;
  /** TPM_ALG_ID, or TPM_ALG_NULL (0x0010) to leave it. */
  readonly auditAlg: number;
  /** TPM_CC values to audit from now on. */
  readonly setList: readonly number[];
  readonly clearList: readonly number[];
}

export interface CapabilityReply {
  readonly moreData: boolean;
  /** TPMS_CAPABILITY_DATA. */
  readonly capabilityData: Buffer;
}
