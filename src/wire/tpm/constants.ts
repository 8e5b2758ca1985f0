/**
 * Numbers of TPM 2.0 Library Part 2 "Structures", only those this project reads or writes.
 * One table per fact; names are the specification's.
 */

/** TPM_ALG_ID (Part 2 §6.3). */
export const TPM_ALG = {
  RSA: 0x0001,
  SHA1: 0x0004,
  AES: 0x0006,
  KEYEDHASH: 0x0008,
  SHA256: 0x000b,
  SHA384: 0x000c,
  SHA512: 0x000d,
  NULL: 0x0010,
  RSASSA: 0x0014,
  RSAPSS: 0x0016,
  ECDSA: 0x0018,
  ECC: 0x0023,
  SYMCIPHER: 0x0025,
  CFB: 0x0043,
} as const;

/** TPM_ECC_CURVE (Part 2 §6.4). */
export const TPM_ECC = { NIST_P256: 0x0003, NIST_P384: 0x0004, NIST_P521: 0x0005 } as const;

/** TPM_GENERATED_VALUE, the magic of every structure a TPM signs about itself (Part 2 §6.2): 0xFF "TCG". */
export const TPM_GENERATED_VALUE = 0xff544347;

/** TPM_ST (Part 2 §6.9). */
export const TPM_ST = {
  NO_SESSIONS: 0x8001,
  SESSIONS: 0x8002,
  ATTEST_NV: 0x8014,
  ATTEST_COMMAND_AUDIT: 0x8015,
  ATTEST_CERTIFY: 0x8017,
  ATTEST_QUOTE: 0x8018,
  ATTEST_CREATION: 0x801a,
  HASHCHECK: 0x8024,
} as const;

/** TPM_RH, the permanent handles (Part 2 §7.4). */
export const TPM_RH = {
  OWNER: 0x40000001,
  NULL: 0x40000007,
  LOCKOUT: 0x4000000a,
  ENDORSEMENT: 0x4000000b,
  PLATFORM: 0x4000000c,
} as const;

/** TPM_CC (Part 2 §6.5.2): commands that are made here, or enter a policy digest or the audit digest. */
export const TPM_CC = {
  SetCommandCodeAuditStatus: 0x0140,
  PolicySecret: 0x0151,
  Sign: 0x015d,
  PolicyOR: 0x0171,
  StartAuthSession: 0x0176,
  PolicyAuthorizeNV: 0x0192,
} as const;

/** TPMA_OBJECT (Part 2 §8.3). */
export const TPMA_OBJECT = {
  fixedTPM: 0x0000_0002,
  stClear: 0x0000_0004,
  fixedParent: 0x0000_0010,
  sensitiveDataOrigin: 0x0000_0020,
  userWithAuth: 0x0000_0040,
  adminWithPolicy: 0x0000_0080,
  firmwareLimited: 0x0000_0100,
  svnLimited: 0x0000_0200,
  noDA: 0x0000_0400,
  encryptedDuplication: 0x0000_0800,
  restricted: 0x0001_0000,
  decrypt: 0x0002_0000,
  sign: 0x0004_0000,
  x509sign: 0x0008_0000,
} as const;

export type ObjectAttribute = keyof typeof TPMA_OBJECT;

/** All bits of TPMA_OBJECT that have a meaning; the others are reserved and zero. */
export const TPMA_OBJECT_KNOWN = Object.values(TPMA_OBJECT).reduce((all, bit) => all | bit, 0);

/** TPMA_NV (Part 2 §13.4). The index type is the four bits 4 to 7: see `TPM_NT`. */
export const TPMA_NV = {
  ppWrite: 0x0000_0001,
  ownerWrite: 0x0000_0002,
  authWrite: 0x0000_0004,
  policyWrite: 0x0000_0008,
  policyDelete: 0x0000_0400,
  writeLocked: 0x0000_0800,
  writeAll: 0x0000_1000,
  writeDefine: 0x0000_2000,
  writeStClear: 0x0000_4000,
  globalLock: 0x0000_8000,
  ppRead: 0x0001_0000,
  ownerRead: 0x0002_0000,
  authRead: 0x0004_0000,
  policyRead: 0x0008_0000,
  noDA: 0x0200_0000,
  orderly: 0x0400_0000,
  clearStClear: 0x0800_0000,
  readLocked: 0x1000_0000,
  written: 0x2000_0000,
  platformCreate: 0x4000_0000,
  readStClear: 0x8000_0000,
} as const;

/** TPM_NT, the type of an NV index (Part 2 §13.2), as it stands in bits 4 to 7 of TPMA_NV. */
export const TPM_NT = { ordinary: 0x00, counter: 0x10, bits: 0x20, extend: 0x40 } as const;

/** TPM_CAP and TPM_PT (Part 2 §6.12, §6.13): what `describe` asks for. */
export const TPM_CAP = { HANDLES: 0x0000_0001, TPM_PROPERTIES: 0x0000_0006 } as const;
export const TPM_PT = {
  FAMILY_INDICATOR: 0x100,
  REVISION: 0x102,
  MANUFACTURER: 0x105,
  VENDOR_STRING_1: 0x106,
  VENDOR_STRING_2: 0x107,
  VENDOR_STRING_3: 0x108,
  VENDOR_STRING_4: 0x109,
  FIRMWARE_VERSION_1: 0x10b,
  FIRMWARE_VERSION_2: 0x10c,
  PERMANENT: 0x200,
  LOCKOUT_COUNTER: 0x20e,
  MAX_AUTH_FAIL: 0x20f,
  LOCKOUT_INTERVAL: 0x210,
  LOCKOUT_RECOVERY: 0x211,
} as const;

/** TPM_RC (Part 2 §6.6): response codes that have a name of their own here. */
export const TPM_RC = {
  INITIALIZE: 0x100,
  PCR_CHANGED: 0x128,
  COMMAND_CODE: 0x143,
  CONTEXT_GAP: 0x901,
  OBJECT_MEMORY: 0x902,
  SESSION_MEMORY: 0x903,
  SESSION_HANDLES: 0x905,
  REFERENCE_H0: 0x910,
  REFERENCE_S0: 0x918,
  LOCKOUT: 0x921,
  RETRY: 0x922,
} as const;

/** Hash algorithms by their node:crypto name. */
export const HASHES = {
  sha1: { id: TPM_ALG.SHA1, octets: 20 },
  sha256: { id: TPM_ALG.SHA256, octets: 32 },
  sha384: { id: TPM_ALG.SHA384, octets: 48 },
  sha512: { id: TPM_ALG.SHA512, octets: 64 },
} as const;

export type HashName = keyof typeof HASHES;

const HASH_NAMES = Object.keys(HASHES) as readonly HashName[];

/** The hash with this TPM_ALG_ID, or undefined. */
export function hashNameOf(id: number): HashName | undefined {
  return HASH_NAMES.find((name) => HASHES[name].id === id);
}

/** Curves by their JOSE name. */
export const CURVES = {
  'P-256': { id: TPM_ECC.NIST_P256, octets: 32, openssl: 'prime256v1' },
  'P-384': { id: TPM_ECC.NIST_P384, octets: 48, openssl: 'secp384r1' },
  'P-521': { id: TPM_ECC.NIST_P521, octets: 66, openssl: 'secp521r1' },
} as const;

export type CurveName = keyof typeof CURVES;

const CURVE_NAMES = Object.keys(CURVES) as readonly CurveName[];

/** The curve with this TPM_ECC_CURVE, or undefined. */
export function curveNameOf(id: number): CurveName | undefined {
  return CURVE_NAMES.find((name) => CURVES[name].id === id);
}
