/**
 * An HMAC session salted to the SRK that this process keeps itself (Part 1 §19.6, Part 3 §11.1), for TPM2_Sign alone.
 * ESYS 3.2.1 makes an OpenSSL library context for each hash of a session, which costs more than the signature
 * (docs/decisions/0045). Commands through one session follow one another: each HMAC needs the nonce of the last response.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { signParameters, signResponseHash } from '../../wire/tpm/audit-digest.ts';
import {
  parseResponse,
  serializeCommand,
  type AuthOctets,
  type ResponseShape,
} from '../../wire/tpm/command.ts';
import { TpmReader, TpmWriter } from '../../wire/tpm/codec.ts';
import { HASHES, TPM_ALG, TPM_CC, TPM_RH } from '../../wire/tpm/constants.ts';
import { kdfA } from '../../wire/tpm/kdf.ts';
import { shareSecret } from '../../wire/tpm/secret-sharing.ts';
import { TssFault, type EsysConnection, type EsysHandle } from './esys.ts';
import type { Srk } from './tpm-identity.ts';

/** authHash of the session: that of cpHash and rpHash too. */
const HASH = 'sha256';
const NONCE_OCTETS = HASHES[HASH].octets;
/** TPM_SE_HMAC (Part 2 §6.11). */
const TPM_SE_HMAC = 0x00;
/** TPMA_SESSION (Part 2 §8.4): continueSession, and nothing encrypted, for digest and signature are public. */
const CONTINUE_SESSION = 0x01;
/** In place of the handle that the addon puts there. */
const TO_BE_RESOLVED = 0;

export interface SignCommand {
  readonly key: EsysHandle;
  readonly digest: Uint8Array;
  /** Of the command (Part 1 §16.7). */
  readonly cpHash: Uint8Array;
  /** The key's authValue; is wiped. */
  readonly auth: Uint8Array;
  /** Takes the command back as long as the TPM has not begun it. */
  readonly signal: AbortSignal | undefined;
}

type Success = Extract<ReturnType<typeof parseResponse>, { readonly parameters: Uint8Array }>;

export class HmacSession {
  readonly #esys: EsysConnection;
  /** By which the connection flushes it, at the latest when it ends. */
  readonly #handle: EsysHandle;
  readonly #tpmHandle: number;
  readonly #sessionKey: Uint8Array;
  #nonceTpm: Uint8Array;

  private constructor(
    esys: EsysConnection,
    handle: EsysHandle,
    { tpmHandle, sessionKey, nonceTpm }: StartedSession,
  ) {
    this.#esys = esys;
    this.#handle = handle;
    this.#tpmHandle = tpmHandle;
    this.#sessionKey = sessionKey;
    this.#nonceTpm = nonceTpm;
  }

  /** TPM2_StartAuthSession, salted and unbound. @throws TssFault; KeydError `tpm_unavailable` */
  static async start(esys: EsysConnection, srk: Srk): Promise<HmacSession> {
    const started = await startAuthSession(esys, srk);
    const handle = await esys.fromTpmHandle({ tpmHandle: started.tpmHandle });
    return new HmacSession(esys, handle, started);
  }

  /**
   * TPM2_Sign: TPMT_SIGNATURE. After a fault the session is of no more use and is to be ended.
   * @throws TssFault as the TPM answered; KeydError `tpm_unavailable` for an answer that is not the TPM's
   */
  async sign({ key, digest, cpHash, auth, signal }: SignCommand): Promise<Buffer> {
    const hmacKey = Buffer.concat([this.#sessionKey, auth]);
    auth.fill(0);
    try {
      const nonceCaller = randomBytes(NONCE_OCTETS);
      const attributes = CONTINUE_SESSION;
      const hmac = hmacOf(hmacKey, cpHash, nonceCaller, this.#nonceTpm, attributes);
      const command = serializeCommand({
        code: TPM_CC.Sign,
        handles: [TO_BE_RESOLVED],
        auth: { session: this.#tpmHandle, nonce: nonceCaller, attributes, hmac },
        parameters: signParameters(digest),
      });
      const shape = { hasHandle: false, hasAuth: true };
      const response = await exchange(this.#esys, key, command, 'TPM2_Sign', shape, signal);
      this.#nonceTpm = requireAuth(hmacKey, nonceCaller, response);
      return Buffer.from(response.parameters);
    } finally {
      hmacKey.fill(0);
    }
  }

  /** Wipes the session's key, where the connection that flushes it has ended. */
  forget(): void {
    this.#sessionKey.fill(0);
  }

  /** TPM2_FlushContext; one that the TPM no longer knows has ended already. */
  async end(): Promise<void> {
    this.forget();
    await this.#esys.flushContext(this.#handle);
  }
}

interface StartedSession {
  readonly tpmHandle: number;
  readonly sessionKey: Uint8Array;
  readonly nonceTpm: Uint8Array;
}

async function startAuthSession(esys: EsysConnection, srk: Srk): Promise<StartedSession> {
  const nonceCaller = randomBytes(NONCE_OCTETS);
  const { secret: salt, encrypted } = shareSecret(srk.area, 'SECRET');
  try {
    const command = serializeCommand({
      code: TPM_CC.StartAuthSession,
      handles: [TO_BE_RESOLVED, TPM_RH.NULL],
      parameters: new TpmWriter()
        .tpm2b(nonceCaller)
        .tpm2b(encrypted)
        .u8(TPM_SE_HMAC)
        .u16(TPM_ALG.NULL)
        .hash(HASH)
        .toOctets(),
    });
    const shape = { hasHandle: true, hasAuth: false };
    const response = await exchange(esys, srk.handle, command, 'TPM2_StartAuthSession', shape);
    const reader = new TpmReader(response.parameters, 'TPM2_StartAuthSession response');
    const nonceTpm = reader.tpm2b(NONCE_OCTETS, 'nonceTPM');
    reader.end();
    if (response.handle === undefined || nonceTpm.length !== NONCE_OCTETS) throw notTheTpm();
    // Part 1 §19.6.8: KDFa(authHash, salt, "ATH", nonceTPM, nonceCaller, bits).
    const sessionKey = kdfA(HASH, salt, 'ATH', nonceTpm, nonceCaller, 8 * NONCE_OCTETS);
    return { tpmHandle: response.handle, sessionKey, nonceTpm };
  } finally {
    salt.fill(0);
  }
}

/** @throws TssFault for a TPM_RC; KeydError `tpm_unavailable` for what is no response */
async function exchange(
  esys: EsysConnection,
  object: EsysHandle,
  command: Uint8Array,
  call: string,
  shape: ResponseShape,
  signal?: AbortSignal,
): Promise<Success> {
  const octets = await esys.transmit({ object, command }, signal);
  const response = parsed(octets, shape);
  if (!('parameters' in response)) throw new TssFault(response.rc, call);
  return response;
}

function parsed(octets: Uint8Array, shape: ResponseShape): ReturnType<typeof parseResponse> {
  try {
    return parseResponse(octets, shape);
  } catch (cause) {
    throw notTheTpm(cause);
  }
}

/** The nonceTPM of a response that the TPM made (Part 1 §19.6.5). @throws KeydError `tpm_unavailable` */
function requireAuth(
  hmacKey: Uint8Array,
  nonceCaller: Uint8Array,
  { parameters, auth }: Success,
): Uint8Array {
  if (auth?.attributes !== CONTINUE_SESSION || auth.nonce.length !== NONCE_OCTETS) throw notTheTpm();
  const expected = hmacOf(hmacKey, signResponseHash(parameters), auth.nonce, nonceCaller, auth.attributes);
  if (auth.hmac.length !== expected.length || !timingSafeEqual(auth.hmac, expected)) throw notTheTpm();
  return auth.nonce;
}

/** Part 1 §19.6.5: HMAC(sessionKey ‖ authValue, pHash ‖ nonceNewer ‖ nonceOlder ‖ sessionAttributes). */
function hmacOf(
  key: Uint8Array,
  pHash: Uint8Array,
  nonceNewer: Uint8Array,
  nonceOlder: Uint8Array,
  attributes: AuthOctets['attributes'],
): Buffer {
  return createHmac(HASH, key)
    .update(pHash)
    .update(nonceNewer)
    .update(nonceOlder)
    .update(Uint8Array.of(attributes))
    .digest();
}

function notTheTpm(cause?: unknown): KeydError {
  return new KeydError(
    'tpm_unavailable',
    'An answer on the TPM’s connection was not made by the TPM, or was changed on its way; nothing of it is used',
    { cause },
  );
}
