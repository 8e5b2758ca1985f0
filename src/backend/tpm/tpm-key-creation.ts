/** Makes an agent key under the SRK, and does not believe in it until it was read back and has signed. */
import { randomBytes } from 'node:crypto';
import type { GenerateRequest, KeyBlobRecord } from '../backend.ts';
import { verifySignature } from '../../wire/public-key.ts';
import { KeydError } from '../../wire/problem.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { parsePublicArea } from '../../wire/tpm/public-area.ts';
import { signingKeyTemplate, type SigningKeyOptions } from '../../wire/tpm/templates.ts';
import { readLoadedPublic } from './context-cache.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { OpenTpm } from './tpm-connection.ts';
import { isExportable, keySource, readTpmKey, type TpmKey } from './tpm-key.ts';
import { digestToSign, signOnTpm, type SessionProtection } from './tpm-signing.ts';
import { SRK_HANDLE } from './tpm-identity.ts';
import { encodeTss2PrivateKey } from './tss2-private-key.ts';

const SALT_OCTETS = 32;
const FIRST_EPOCH = 1;

export interface KeyCreation {
  readonly request: GenerateRequest;
  readonly auths: AuthDeriver;
  readonly protection: SessionProtection;
  readonly template?: SigningKeyOptions;
}

/**
 * TPM2_Create through a salted session: the new auth goes to the TPM encrypted. The key is loaded, read back
 * and used once before it is given out; it is not stored here.
 * @throws KeydError `key_exportable`, `signature_mismatch`, `unsupported_algorithm`; TssFault
 */
export async function createTpmKey(tpm: OpenTpm, creation: KeyCreation): Promise<TpmKey> {
  const { request, auths } = creation;
  const salt = randomBytes(SALT_OCTETS);
  const identity = { keyId: request.keyId, purpose: request.purpose, epoch: FIRST_EPOCH, salt };
  const template = signingKeyTemplate(request.algorithm, creation.template);
  const { outPublic, outPrivate } = await create(tpm, template, auths.keyAuth(identity));
  const blob = encodeTss2PrivateKey({ parent: SRK_HANDLE, publicArea: outPublic, privateArea: outPrivate });
  const record: KeyBlobRecord = { ...identity, algorithm: request.algorithm, blob };
  const key = readTpmKey(record);
  await proveKey(tpm, key, template, creation);
  return key;
}

async function create(
  tpm: OpenTpm,
  inPublic: Uint8Array,
  userAuth: Uint8Array,
): Promise<{ readonly outPublic: Uint8Array; readonly outPrivate: Uint8Array }> {
  try {
    const session = await tpm.sessions.use('first', { decrypt: true, encrypt: true });
    await tpm.objects.makeRoom(2);
    return await tpm.esys.create({ parent: tpm.srk.handle, inPublic, userAuth, sessions: [session] });
  } finally {
    userAuth.fill(0);
  }
}

async function proveKey(
  tpm: OpenTpm,
  key: TpmKey,
  template: Uint8Array,
  { auths, protection }: KeyCreation,
): Promise<void> {
  const handle = await tpm.objects.acquire(keySource(key, tpm, auths));
  const outPublic = await readLoadedPublic(tpm.esys, handle);
  const wanted = parsePublicArea(template);
  if (
    !sameOctets(outPublic, key.publicArea) ||
    key.area.attributes !== wanted.attributes ||
    isExportable(key.area)
  ) {
    throw new KeydError(
      'key_exportable',
      'The TPM made a key with other attributes than asked for; it is not used',
    );
  }
  const message = randomBytes(32);
  const digest = digestToSign(key.record.algorithm, { kind: 'message', octets: message });
  const signature = await signOnTpm(tpm, { key, digest, auths, protection });
  if (verifySignature(key.publicJwk, message, signature)) return;
  throw key.record.algorithm === 'PS256'
    ? new KeydError(
        'unsupported_algorithm',
        'This TPM salts RSASSA-PSS otherwise than PS256 demands (RFC 7518 §3.5)',
      )
    : new KeydError(
        'signature_mismatch',
        'The first signature by the new key does not verify; it is not used',
      );
}
