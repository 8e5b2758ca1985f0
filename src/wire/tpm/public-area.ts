/**
 * TPMT_PUBLIC (Part 2 §12.2.4) of asymmetric keys: ECC P-256, P-384, P-521 and RSA. Parsing and
 * serializing are inverse octet for octet, because a Name is a hash over exactly these octets.
 */
import { TpmReader, TpmWriter, hex } from './codec.ts';
import {
  CURVES,
  HASHES,
  TPM_ALG,
  TPMA_OBJECT,
  TPMA_OBJECT_KNOWN,
  curveNameOf,
  type CurveName,
  type HashName,
  type ObjectAttribute,
} from './constants.ts';

export type SchemeName = 'ecdsa' | 'rsassa' | 'rsapss';

/** TPMT_ECC_SCHEME or TPMT_RSA_SCHEME of a key that signs; undefined stands for TPM_ALG_NULL. */
export interface SigningScheme {
  readonly scheme: SchemeName;
  readonly hash: HashName;
}

interface PublicAreaCommon {
  readonly nameAlg: HashName;
  /** TPMA_OBJECT. */
  readonly attributes: number;
  /** Empty, or a digest of nameAlg's length. */
  readonly authPolicy: Uint8Array;
  /** Bits of the AES-CFB key that protects children; undefined (TPM_ALG_NULL) unless a storage key. */
  readonly symmetricBits: 128 | 192 | 256 | undefined;
  readonly scheme: SigningScheme | undefined;
}

export interface EccPublicArea extends PublicAreaCommon {
  readonly type: 'ecc';
  readonly curve: CurveName;
  /** At most the curve's length; leading zeros stay as the TPM wrote them. */
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

export interface RsaPublicArea extends PublicAreaCommon {
  readonly type: 'rsa';
  readonly keyBits: 2048 | 3072 | 4096;
  /** 0 stands for 65537, as TPMs write it. */
  readonly exponent: number;
  readonly modulus: Uint8Array;
}

export type PublicArea = EccPublicArea | RsaPublicArea;

const SCHEME_IDS = { ecdsa: TPM_ALG.ECDSA, rsassa: TPM_ALG.RSASSA, rsapss: TPM_ALG.RSAPSS } as const;
const WHAT = 'TPMT_PUBLIC';

/** @throws KeydError `malformed_structure`: truncated, trailing octets, reserved bits, or a type not handled here */
export function parsePublicArea(octets: Uint8Array): PublicArea {
  const reader = new TpmReader(octets, WHAT);
  const type = reader.u16();
  if (type !== TPM_ALG.ECC && type !== TPM_ALG.RSA) {
    const named =
      type === TPM_ALG.KEYEDHASH ? 'KEYEDHASH' : type === TPM_ALG.SYMCIPHER ? 'SYMCIPHER' : hex(type);
    reader.fail(`the object type ${named} is not an asymmetric key`);
  }
  const nameAlg = reader.hash('nameAlg');
  const attributes = reader.u32();
  if ((attributes & ~TPMA_OBJECT_KNOWN) !== 0)
    reader.fail(`objectAttributes ${hex(attributes, 8)} has reserved bits`);
  const authPolicy = reader.tpm2b(HASHES[nameAlg].octets, 'authPolicy');
  if (authPolicy.length !== 0 && authPolicy.length !== HASHES[nameAlg].octets) {
    reader.fail(`authPolicy has ${authPolicy.length} octets, which is no ${nameAlg} digest`);
  }
  const symmetricBits = readSymmetric(reader);
  const common = { nameAlg, attributes, authPolicy, symmetricBits };
  const area = type === TPM_ALG.ECC ? readEcc(reader, common) : readRsa(reader, common);
  reader.end();
  return area;
}

export function serializePublicArea(area: PublicArea): Uint8Array {
  const writer = new TpmWriter()
    .u16(area.type === 'ecc' ? TPM_ALG.ECC : TPM_ALG.RSA)
    .hash(area.nameAlg)
    .u32(area.attributes)
    .tpm2b(area.authPolicy);
  if (area.symmetricBits === undefined) writer.u16(TPM_ALG.NULL);
  else writer.u16(TPM_ALG.AES).u16(area.symmetricBits).u16(TPM_ALG.CFB);
  writeScheme(writer, area.scheme);
  if (area.type === 'ecc') {
    writer.u16(CURVES[area.curve].id).u16(TPM_ALG.NULL).tpm2b(area.x).tpm2b(area.y);
  } else {
    writer.u16(area.keyBits).u32(area.exponent).tpm2b(area.modulus);
  }
  return writer.toOctets();
}

/** Whether every one of `names` is set. */
export function hasAttributes(area: PublicArea, ...names: readonly ObjectAttribute[]): boolean {
  return names.every((name) => (area.attributes & TPMA_OBJECT[name]) !== 0);
}

/** Names of the attributes that are set, in bit order. */
export function attributeNames(attributes: number): readonly ObjectAttribute[] {
  return (Object.keys(TPMA_OBJECT) as ObjectAttribute[]).filter(
    (name) => (attributes & TPMA_OBJECT[name]) !== 0,
  );
}

/** TPMT_SIG_SCHEME and the scheme inside TPMT_PUBLIC have one form: the algorithm, and its hash unless NULL. */
export function writeScheme(writer: TpmWriter, scheme: SigningScheme | undefined): void {
  if (scheme === undefined) writer.u16(TPM_ALG.NULL);
  else writer.u16(SCHEME_IDS[scheme.scheme]).hash(scheme.hash);
}

type AreaHead = Omit<PublicAreaCommon, 'scheme'>;

function readEcc(reader: TpmReader, head: AreaHead): EccPublicArea {
  const scheme = readScheme(reader, ['ecdsa']);
  const curveId = reader.u16();
  const curve = curveNameOf(curveId) ?? reader.fail(`the curve ${hex(curveId)} is not supported`);
  const kdf = reader.u16();
  if (kdf !== TPM_ALG.NULL) reader.fail(`the KDF scheme ${hex(kdf)} is not TPM_ALG_NULL`);
  const x = reader.tpm2b(CURVES[curve].octets, 'unique.x');
  const y = reader.tpm2b(CURVES[curve].octets, 'unique.y');
  return { type: 'ecc', ...head, scheme, curve, x, y };
}

function readRsa(reader: TpmReader, head: AreaHead): RsaPublicArea {
  const scheme = readScheme(reader, ['rsassa', 'rsapss']);
  const keyBits = reader.u16();
  if (keyBits !== 2048 && keyBits !== 3072 && keyBits !== 4096)
    return reader.fail(`${keyBits}-bit RSA is not supported`);
  const exponent = reader.u32();
  if (exponent !== 0 && exponent !== 65537) reader.fail(`the RSA exponent ${exponent} is not 65537`);
  const modulus = reader.tpm2b(keyBits / 8, 'unique');
  return { type: 'rsa', ...head, scheme, keyBits, exponent, modulus };
}

function readSymmetric(reader: TpmReader): 128 | 192 | 256 | undefined {
  const algorithm = reader.u16();
  if (algorithm === TPM_ALG.NULL) return undefined;
  if (algorithm !== TPM_ALG.AES) reader.fail(`the symmetric algorithm ${hex(algorithm)} is not AES`);
  const bits = reader.u16();
  const mode = reader.u16();
  if (mode !== TPM_ALG.CFB) reader.fail(`the cipher mode ${hex(mode)} is not CFB`);
  return bits === 128 || bits === 192 || bits === 256 ? bits : reader.fail(`AES has no ${bits}-bit keys`);
}

function readScheme(reader: TpmReader, allowed: readonly SchemeName[]): SigningScheme | undefined {
  const id = reader.u16();
  if (id === TPM_ALG.NULL) return undefined;
  const scheme =
    allowed.find((name) => SCHEME_IDS[name] === id) ?? reader.fail(`the scheme ${hex(id)} is not supported`);
  return { scheme, hash: reader.hash('scheme.hash') };
}
