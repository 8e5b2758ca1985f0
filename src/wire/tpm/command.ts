/** Commands and responses as they cross the bus (Part 1 §16 and §18), for those that this project makes itself. */
import { TpmReader, TpmWriter, hex } from './codec.ts';
import { TPM_ST } from './constants.ts';

const HEADER_OCTETS = 10;
/** No TPM here has longer commands or responses. */
const MAX_OCTETS = 4096;

/** One session of an authorization area; TPMS_AUTH_COMMAND and TPMS_AUTH_RESPONSE but for the handle. */
export interface AuthOctets {
  readonly nonce: Uint8Array;
  /** TPMA_SESSION. */
  readonly attributes: number;
  readonly hmac: Uint8Array;
}

export interface CommandParts {
  /** TPM_CC. */
  readonly code: number;
  readonly handles: readonly number[];
  readonly auth?: AuthOctets & { readonly session: number };
  readonly parameters: Uint8Array;
}

/** A whole command with one session or none. */
export function serializeCommand({ code, handles, auth, parameters }: CommandParts): Uint8Array {
  const body = new TpmWriter();
  for (const handle of handles) body.u32(handle);
  if (auth !== undefined) {
    const area = new TpmWriter()
      .u32(auth.session)
      .tpm2b(auth.nonce)
      .u8(auth.attributes)
      .tpm2b(auth.hmac)
      .toOctets();
    body.u32(area.length).octets(area);
  }
  const octets = body.octets(parameters).toOctets();
  return new TpmWriter()
    .u16(auth === undefined ? TPM_ST.NO_SESSIONS : TPM_ST.SESSIONS)
    .u32(HEADER_OCTETS + octets.length)
    .u32(code)
    .octets(octets)
    .toOctets();
}

export type ParsedResponse =
  /** TPM_RC other than success: nothing was done, and nothing else is said. */
  | { readonly rc: number }
  | {
      readonly rc: 0;
      readonly handle: number | undefined;
      readonly parameters: Uint8Array;
      readonly auth: AuthOctets | undefined;
    };

export interface ResponseShape {
  /** Whether a handle follows the header. */
  readonly hasHandle: boolean;
  /** Whether the command had a session, which the response then has too. */
  readonly hasAuth: boolean;
}

/**
 * A whole response, of the shape that the command has.
 * @throws KeydError `malformed_structure`
 */
export function parseResponse(octets: Uint8Array, { hasHandle, hasAuth }: ResponseShape): ParsedResponse {
  const reader = new TpmReader(octets, 'TPM response');
  const tag = reader.u16();
  const size = reader.u32();
  if (size !== octets.length || size > MAX_OCTETS)
    reader.fail(`says that it has ${size} octets and has ${octets.length}`);
  const rc = reader.u32();
  // Part 1 §18.4: what failed has neither parameters nor sessions, whatever the command had.
  const expected = rc === 0 && hasAuth ? TPM_ST.SESSIONS : TPM_ST.NO_SESSIONS;
  if (tag !== expected) reader.fail(`has the tag ${hex(tag)}, not ${hex(expected)}`);
  if (rc !== 0) {
    reader.end();
    return { rc };
  }
  const handle = hasHandle ? reader.u32() : undefined;
  if (!hasAuth) {
    const parameters = reader.octets(size - HEADER_OCTETS - (hasHandle ? 4 : 0));
    reader.end();
    return { rc: 0, handle, parameters, auth: undefined };
  }
  const parameters = reader.octets(reader.u32());
  const auth = {
    nonce: reader.tpm2b(64, 'nonceTPM'),
    attributes: reader.u8(),
    hmac: reader.tpm2b(64, 'hmac'),
  };
  reader.end();
  return { rc: 0, handle, parameters, auth };
}
