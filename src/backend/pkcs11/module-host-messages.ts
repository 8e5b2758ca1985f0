/** The JSON bodies between daemon and module host, strict on both sides. Signing has none: see the protocol. */
import type { HardwareKey } from '../backend.ts';
import { ALGORITHMS, type Algorithm } from '../../wire/algorithms.ts';
import * as check from '../../wire/check.ts';
import { parsePublicJwk, type PublicJwk } from '../../wire/jwk.ts';
import { asKeydError, KeydError, type ErrorCode } from '../../wire/problem.ts';
import { parseStrictJson } from '../../wire/strict-json.ts';
import { KEY_PURPOSES } from './key-label.ts';
import { MAX_BODY_OCTETS } from './module-host-protocol.ts';
import { ReturnValueFault } from './return-value.ts';

const MAX_DEPTH = 6;
/** Keys on one page of a listing, at most; signing goes on between pages. */
export const LIST_PAGE_KEYS = 64;

const shortText = check.text({ maxLength: 256 });
const path = check.text({ maxLength: 4096 });
const uint32 = check.integer({ min: 0, max: 0xffff_ffff });
const algorithm = check.oneOf(ALGORITHMS);
const purpose = check.oneOf(KEY_PURPOSES);
const keyId = check.text({ maxLength: 36 });
const rsaModulusBits: check.Shape<2048 | 3072> = (value, where, faults) => {
  if (value === 2048 || value === 3072) return value;
  faults.push(`${where} must be 2048 or 3072`);
  return 3072;
};

const publicJwk: check.Shape<PublicJwk> = (value, where, faults) => {
  try {
    return parsePublicJwk(value, where);
  } catch (thrown) {
    faults.push(asKeydError(thrown).message);
    return undefined as never;
  }
};

const hardwareKey = check.refine(
  check.object({ keyId, purpose, algorithm, publicJwk }) satisfies check.Shape<HardwareKey>,
  (key) => (key.publicJwk.alg === key.algorithm ? undefined : 'has a public key of another algorithm'),
);

const attributes = check.dictionary(/^CKA_[A-Z_]{1,60}$/, check.boolean, { max: 32 });

/** Which module to load and which of its tokens to use; at least one of label and serial. */
export const connectRequest = check.object({
  module: path,
  tokenLabel: check.optional(shortText),
  tokenSerial: check.optional(shortText),
});
export type ConnectRequest = check.Infer<typeof connectRequest>;

/** The token as it names itself, before login. `flags` is CK_TOKEN_INFO.flags. */
export const tokenReport = check.object({
  label: shortText,
  manufacturer: shortText,
  model: shortText,
  serial: shortText,
  firmware: shortText,
  library: shortText,
  flags: uint32,
  algorithms: check.array(algorithm, { max: ALGORITHMS.length }),
});
export type TokenReport = check.Infer<typeof tokenReport>;

export const generateCommand = check.object({ keyId, purpose, algorithm, rsaModulusBits });
export type GenerateCommand = check.Infer<typeof generateCommand>;

export const generatedKey = check.object({ key: hardwareKey, attributes });
export type GeneratedKey = check.Infer<typeof generatedKey>;

/** A listing is taken at offset 0 and then read page by page. */
export const listRequest = check.object({ offset: uint32 });
export type ListRequest = check.Infer<typeof listRequest>;

export const listPage = check.object({
  /** Keys whose public object is on this page. */
  keys: check.array(hardwareKey, { max: LIST_PAGE_KEYS }),
  /** Keys whose private object is on this page. */
  held: check.array(keyId, { max: LIST_PAGE_KEYS }),
  /** Objects that carry our label and can not be read. */
  unreadable: uint32,
  /** Offset of the next page; absent on the last. */
  next: check.optional(uint32),
});
export type ListPage = check.Infer<typeof listPage>;

export const findAnswer = check.object({ key: check.optional(hardwareKey) });
export type FindAnswer = check.Infer<typeof findAnswer>;

export const protectionAnswer = check.object({ attributes });
export type ProtectionAnswer = check.Infer<typeof protectionAnswer>;

export function encodeMessage(message: object): Buffer {
  return Buffer.from(JSON.stringify(message));
}

/** @throws KeydError `malformed_structure` */
export function decodeMessage<T>(shape: check.Shape<T>, body: Uint8Array): T {
  let value: unknown;
  try {
    value = parseStrictJson(body, { maxDepth: MAX_DEPTH, maxOctets: MAX_BODY_OCTETS });
  } catch (thrown) {
    throw new KeydError('malformed_structure', `A module host message: ${asKeydError(thrown).message}`);
  }
  return check.parse(shape, value, 'malformed_structure');
}

const MAX_REFUSAL_OCTETS = 4096;

/** What a module host may say of itself; whatever else goes wrong there is `internal`. */
const REFUSAL_CODES = [
  'backend_unavailable',
  'body_too_large',
  'conflict',
  'internal',
  'key_exportable',
  'key_not_found',
  'token_login_failed',
  'token_unavailable',
] as const satisfies readonly ErrorCode[];

/** A refusal by the module host itself. */
export function encodeRefusal({ code, message }: KeydError): Buffer {
  const said = REFUSAL_CODES.find((candidate) => candidate === code) ?? 'internal';
  return Buffer.from(`${said}\0${message.replaceAll('\0', ' ')}`).subarray(0, MAX_REFUSAL_OCTETS);
}

/** @throws KeydError `malformed_structure` */
export function decodeRefusal(body: Buffer): KeydError {
  const [text, message, ...rest] = body.toString('utf8').split('\0');
  const code = REFUSAL_CODES.find((candidate) => candidate === text);
  if (code === undefined || message === undefined || rest.length > 0) {
    throw new KeydError('malformed_structure', 'A module host refusal is malformed');
  }
  return new KeydError(code, message);
}

/** A PKCS#11 function that failed: its CK_RV and its name in C. */
export function encodeReturnValue(fault: { readonly rv: number; readonly call: string }): Buffer {
  const call = Buffer.from(fault.call, 'latin1');
  const body = Buffer.alloc(4 + call.length);
  body.writeUInt32BE(fault.rv, 0);
  body.set(call, 4);
  return body;
}

/** @throws KeydError `malformed_structure` */
export function decodeReturnValue(body: Buffer): ReturnValueFault {
  const call = body.toString('latin1', 4);
  if (body.length < 5 || !/^\w{1,40}$/.test(call)) {
    throw new KeydError('malformed_structure', 'A module host return value is malformed');
  }
  return new ReturnValueFault(body.readUInt32BE(0), call);
}

/** The octet that stands for an algorithm in a sign request. */
export function algorithmToOctet(name: Algorithm): number {
  return ALGORITHMS.indexOf(name);
}

/** @throws KeydError `malformed_structure` */
export function algorithmFromOctet(octet: number | undefined): Algorithm {
  const name = octet === undefined ? undefined : ALGORITHMS[octet];
  if (name === undefined) throw new KeydError('malformed_structure', 'A sign request names no algorithm');
  return name;
}
