/** From what a caller wants signed to JOSE octets by TPM2_Sign. */
import { hash as hashOctets } from 'node:crypto';
import type { SignInput } from '../backend.ts';
import { algorithmEntry, type Algorithm } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';
import { HASHES } from '../../wire/tpm/constants.ts';
import { signCommandHash } from '../../wire/tpm/audit-digest.ts';
import { parseSignature, signatureToJose } from '../../wire/tpm/signature.ts';
import type { EsysHandle } from './esys.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { SignAudit } from './sign-audit.ts';
import type { SigningPlace } from './signing-sessions.ts';
import { refuseAborted } from '../refuse-aborted.ts';
import type { OpenTpm } from './tpm-connection.ts';
import { keySource, type TpmKey } from './tpm-key.ts';

/**
 * How a key's auth value travels in TPM2_Sign (docs/decisions/0006): `password` puts it on the bus, `salted` uses an
 * HMAC session salted to the SRK and does not.
 */
export type SessionProtection = 'salted' | 'password';

export interface SignJob {
  readonly key: TpmKey;
  readonly digest: Uint8Array;
  readonly protection: SessionProtection;
  readonly auths: AuthDeriver;
  readonly signal?: AbortSignal;
  /** Undefined where the TPM keeps no account of signatures. */
  readonly audit: SignAudit | undefined;
}

/**
 * The digest that is signed.
 * @throws KeydError `malformed_request` for a digest that is not as long as the algorithm's hash
 */
export function digestToSign(algorithm: Algorithm, input: SignInput): Uint8Array {
  const { hash } = algorithmEntry(algorithm);
  if (hash === undefined) throw new KeydError('unsupported_algorithm', `A TPM does not sign ${algorithm}`);
  if (input.kind === 'message') return hashOctets(hash, input.octets, 'buffer');
  if (input.octets.length !== HASHES[hash].octets) {
    throw new KeydError(
      'malformed_request',
      `A digest for ${algorithm} has ${HASHES[hash].octets} octets, not ${input.octets.length}`,
    );
  }
  return new Uint8Array(input.octets);
}

/**
 * Signs by one command, if the key is loaded and so is the session that its auth needs; undefined where that is not so.
 * @throws KeydError `caller_gone`, `tpm_unavailable`; TssFault
 */
export async function signIfLoaded(tpm: OpenTpm, job: SignJob): Promise<Uint8Array | undefined> {
  const handle = tpm.objects.loaded(job.key.record.keyId);
  if (handle === undefined) return undefined;
  refuseAborted(job.signal);
  if (job.protection === 'password') return signByPassword(tpm, handle, job);
  const place = tpm.sessions.chooseForSigning();
  return place?.inTurn(() => {
    refuseAborted(job.signal);
    return signInSession(place, handle, job);
  });
}

/** Signs on the open TPM. @throws KeydError `caller_gone`, `tpm_unavailable`; TssFault */
export async function signOnTpm(tpm: OpenTpm, job: SignJob): Promise<Uint8Array> {
  // A session is asked for first: starting one may need the slot that the key would take.
  const place = job.protection === 'salted' ? await tpm.sessions.openForSigning() : undefined;
  const handle = await tpm.objects.acquire(keySource(job.key, tpm, job.auths));
  refuseAborted(job.signal);
  return place === undefined ? signByPassword(tpm, handle, job) : signInSession(place, handle, job);
}

function signByPassword(tpm: OpenTpm, key: EsysHandle, job: SignJob): Promise<Uint8Array> {
  const answer = tpm.esys.sign({ key, digest: job.digest, sessions: [] }, job.signal);
  return joseOf(answer, job, () => commandHash(job));
}

function signInSession(place: SigningPlace, handle: EsysHandle, job: SignJob): Promise<Uint8Array> {
  const { key, digest, auths, signal } = job;
  const cpHash = commandHash(job);
  const answer = place.sign({ key: handle, digest, cpHash, auth: auths.keyAuth(key.record), signal });
  return joseOf(answer, job, () => cpHash);
}

function commandHash({ key, digest }: SignJob): Uint8Array {
  return signCommandHash(key.name, digest);
}

/** The TPM's answer in JOSE form, on account where one is kept. */
async function joseOf(
  answer: Promise<Buffer>,
  { key, audit }: Pick<SignJob, 'key' | 'audit'>,
  cpHash: () => Uint8Array,
): Promise<Uint8Array> {
  const signature = await (audit === undefined ? answer : audit.follow(answer, cpHash()));
  return signatureToJose(parseSignature(signature), key.area);
}
