/**
 * The one interface in front of keys in hardware. A backend never falls back to software and never
 * deletes a key's record because hardware is absent.
 */
import type { Algorithm } from '../wire/algorithms.ts';
import type { AssuranceLevel } from '../wire/assurance.ts';
import type { PublicJwk } from '../wire/jwk.ts';

export type BackendKind = 'tpm' | 'pkcs11';

/**
 * What a key may be used for. It enters the key's auth derivation and its label; no socket endpoint
 * addresses any purpose but `agent` (DECISIONS 11).
 */
export type KeyPurpose = 'agent' | 'host' | 'audit' | 'issuer';

/** A key as its backend knows it. `keyId` is a UUID chosen by the caller of `generate`. */
export interface HardwareKey {
  readonly keyId: string;
  readonly purpose: KeyPurpose;
  readonly algorithm: Algorithm;
  readonly publicJwk: PublicJwk;
}

export interface GenerateRequest {
  readonly keyId: string;
  readonly purpose: KeyPurpose;
  readonly algorithm: Algorithm;
  /**
   * A key for the life of this process at most: what a TPM gives out wrapped is kept in memory and never
   * written (S15). A token keeps such a key as any other; who asked for it sees to its end after a crash.
   */
  readonly ephemeral?: boolean;
}

/** What is signed: a whole message, hashed as the algorithm says, or a digest made elsewhere (never for Ed25519). */
export type SignInput =
  | { readonly kind: 'message'; readonly octets: Uint8Array }
  | { readonly kind: 'digest'; readonly octets: Uint8Array };

export interface SignOptions {
  /** Aborted when the caller is gone or its deadline has passed; nothing is signed after that. */
  readonly signal?: AbortSignal;
}

/** What destroying a key erased (S15). */
export interface Erasure {
  /** `hardware`: the token deleted the object. `local-copies`: blob and salt were erased here. */
  readonly erased: 'hardware' | 'local-copies';
  /** The sentence a person should read about what may remain. */
  readonly statement: string;
}

/** Attributes read back from the hardware after creation, and the judgement over them. */
export interface KeyProtection {
  readonly exportable: boolean;
  /** Attribute names and values as the hardware gives them, for people: `fixedTPM: true`, `CKA_EXTRACTABLE: false`. */
  readonly attributes: Readonly<Record<string, boolean>>;
}

export type BackendState = 'starting' | 'ready' | 'unavailable';

export interface BackendDescription {
  readonly kind: BackendKind;
  readonly state: BackendState;
  /** Why it is not ready; undefined when it is. Ends with what the person can do. */
  readonly fault?: string;
  readonly algorithms: readonly Algorithm[];
  /** `asserted` or `software`: the two hardware levels are the Verifier's to give. */
  readonly assurance: AssuranceLevel;
  /** Why the assurance is what it is, one sentence. */
  readonly assuranceReason: string;
  /** Manufacturer, model, serial, firmware: as the hardware names itself; claims, not evidence. */
  readonly hardware: Readonly<Record<string, string>>;
}

/** Calls reject with KeydError: `backend_starting`, `tpm_*`, `token_*`, `module_host_died`, `key_not_found`, `unsupported_algorithm`. */
export interface KeyBackend {
  readonly kind: BackendKind;
  /** Cheap; answers in every state and never rejects. */
  describe(): Promise<BackendDescription>;
  /** Makes a key in hardware, reads its protection back, and has it durably findable before it resolves. */
  generate(request: GenerateRequest): Promise<HardwareKey>;
  /** The key or `undefined` if hardware was asked and does not hold it. */
  find(keyId: string): Promise<HardwareKey | undefined>;
  list(): Promise<readonly HardwareKey[]>;
  /** JOSE signature octets: ECDSA r‖s left-padded to full length, Ed25519 64 octets, RSA big-endian. */
  sign(keyId: string, input: SignInput, options?: SignOptions): Promise<Uint8Array>;
  readProtection(keyId: string): Promise<KeyProtection>;
  /** Idempotent: an unknown key is an erased key. */
  destroy(keyId: string): Promise<Erasure>;
  close(): Promise<void>;
}

/**
 * Where a backend keeps what hardware gives out wrapped (TPM2B_PRIVATE, salts). Implemented over the
 * state database; a resolved `put` or `delete` is durable.
 */
export interface KeyBlobStore {
  put(record: KeyBlobRecord): Promise<void>;
  get(keyId: string): Promise<KeyBlobRecord | undefined>;
  list(): Promise<readonly KeyBlobRecord[]>;
  /** Overwrites and removes. */
  delete(keyId: string): Promise<void>;
}

export interface KeyBlobRecord {
  readonly keyId: string;
  readonly purpose: KeyPurpose;
  readonly algorithm: Algorithm;
  /** TSS2 PRIVATE KEY, DER. */
  readonly blob: Uint8Array;
  /** 32 random octets that enter the key's auth (S15). */
  readonly salt: Uint8Array;
  readonly epoch: number;
}
