/**
 * The digest that a TPM keeps over the commands that are audited (Part 1 §31, "Command Audit"), as anybody computes
 * it who knows the commands: it begins as zeros, and `H(digest ‖ cpHash ‖ rpHash)` follows each that succeeded.
 */
import { createHash } from 'node:crypto';
import { sameOctets, TpmWriter } from './codec.ts';
import { HASHES, TPM_ALG, TPM_CC, TPM_RH, TPM_ST } from './constants.ts';

/** The only hash the digest is kept in here. */
const HASH = 'sha256';
export const AUDIT_DIGEST_ALG = HASHES[HASH].id;
/** As a TPM tells it while no audited command has run since it was taken. */
export const NO_DIGEST: Uint8Array = new Uint8Array();

/**
 * Parameters of TPM2_Sign as this project sends it: the key's own scheme, no ticket (Part 3 §20.2).
 * @param digest what is signed
 */
export function signParameters(digest: Uint8Array): Uint8Array {
  return new TpmWriter()
    .tpm2b(digest)
    .u16(TPM_ALG.NULL)
    .u16(TPM_ST.HASHCHECK)
    .u32(TPM_RH.NULL)
    .tpm2b(new Uint8Array())
    .toOctets();
}

/**
 * cpHash of TPM2_Sign as this project sends it, without parameter encryption (Part 1 §16.7).
 * @param keyName Name of the key
 */
export function signCommandHash(keyName: Uint8Array, digest: Uint8Array): Uint8Array {
  const command = new TpmWriter().u32(TPM_CC.Sign).octets(keyName).octets(signParameters(digest));
  return hash(command.toOctets());
}

/** rpHash of a TPM2_Sign that succeeded (Part 1 §16.8). @param signature TPMT_SIGNATURE, marshalled */
export function signResponseHash(signature: Uint8Array): Uint8Array {
  return hash(new TpmWriter().u32(0).u32(TPM_CC.Sign).octets(signature).toOctets());
}

/** The digest after one more command. */
export function extendAuditDigest(digest: Uint8Array, cpHash: Uint8Array, rpHash: Uint8Array): Uint8Array {
  const before = digest.length === 0 ? new Uint8Array(HASHES[HASH].octets) : digest;
  return hash(Buffer.concat([before, cpHash, rpHash]));
}

/**
 * Whether TPM2_Sign is audited and nothing else that another program could have asked for. libtpms counts
 * TPM2_SetCommandCodeAuditStatus, which is always audited, among the codes.
 */
export function isSignAudited(digestAlg: number, commandDigest: Uint8Array): boolean {
  if (digestAlg !== AUDIT_DIGEST_ALG) return false;
  const lists = [[TPM_CC.SetCommandCodeAuditStatus, TPM_CC.Sign], [TPM_CC.Sign]];
  return lists.some((codes) => sameOctets(commandDigest, codesHash(codes)));
}

function codesHash(codes: readonly number[]): Uint8Array {
  const writer = new TpmWriter();
  for (const code of codes) writer.u32(code);
  return hash(writer.toOctets());
}

function hash(octets: Uint8Array): Uint8Array {
  return new Uint8Array(createHash(HASH).update(octets).digest());
}
