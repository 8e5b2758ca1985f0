/**
 * Numbers of PKCS#11 v3.0 (pkcs11t.h) that are used here, under their own names. The parent must never load
 * pkcs11js, so they are not taken from it.
 */

export const CKO = { publicKey: 2, privateKey: 3 } as const;

export const CKK = { rsa: 0x00, ec: 0x03, ecEdwards: 0x40 } as const;

export const CKM = {
  rsaPkcsKeyPairGen: 0x0000,
  rsaPkcs: 0x0001,
  rsaPkcsPss: 0x000d,
  sha256: 0x0250,
  ecKeyPairGen: 0x1040,
  ecdsa: 0x1041,
  ecEdwardsKeyPairGen: 0x1055,
  eddsa: 0x1057,
} as const;

export const CKG = { mgf1Sha256: 2 } as const;

export const CKA = {
  class: 0x0000,
  token: 0x0001,
  private: 0x0002,
  label: 0x0003,
  keyType: 0x0100,
  id: 0x0102,
  sensitive: 0x0103,
  encrypt: 0x0104,
  decrypt: 0x0105,
  wrap: 0x0106,
  unwrap: 0x0107,
  sign: 0x0108,
  signRecover: 0x0109,
  verify: 0x010a,
  derive: 0x010c,
  modulus: 0x0120,
  modulusBits: 0x0121,
  publicExponent: 0x0122,
  extractable: 0x0162,
  local: 0x0163,
  neverExtractable: 0x0164,
  alwaysSensitive: 0x0165,
  modifiable: 0x0170,
  copyable: 0x0171,
  ecParams: 0x0180,
  ecPoint: 0x0181,
  allowedMechanisms: 0x40000600,
} as const;

export const CKF = {
  rwSession: 0x2,
  serialSession: 0x4,
  tokenInitialized: 0x400,
  userPinFinalTry: 0x20000,
  userPinLocked: 0x40000,
  userPinCountLow: 0x10000,
} as const;

export const CKU_USER = 1;
export const CKS_RW_USER_FUNCTIONS = 3;

/** CK_RV by name; `return-value.ts` says what each means here. */
export const CKR = {
  hostMemory: 0x02,
  slotIdInvalid: 0x03,
  generalError: 0x05,
  functionFailed: 0x06,
  attributeReadOnly: 0x10,
  attributeSensitive: 0x11,
  attributeTypeInvalid: 0x12,
  attributeValueInvalid: 0x13,
  deviceError: 0x30,
  deviceMemory: 0x31,
  deviceRemoved: 0x32,
  keyHandleInvalid: 0x60,
  keySizeRange: 0x62,
  keyTypeInconsistent: 0x63,
  mechanismInvalid: 0x70,
  mechanismParamInvalid: 0x71,
  objectHandleInvalid: 0x82,
  pinIncorrect: 0xa0,
  pinInvalid: 0xa1,
  pinLenRange: 0xa2,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  sessionClosed: 0xb0,
  sessionCount: 0xb1,
  sessionHandleInvalid: 0xb3,
  templateInconsistent: 0xd1,
  tokenNotPresent: 0xe0,
  tokenNotRecognized: 0xe1,
  tokenWriteProtected: 0xe2,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
  userPinNotInitialized: 0x102,
  domainParamsInvalid: 0x130,
  curveNotSupported: 0x140,
  cryptokiNotInitialized: 0x190,
} as const;
