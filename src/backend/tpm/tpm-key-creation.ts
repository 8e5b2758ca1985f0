/** Makes an agent key under the SRK, and does not believe in it until it was read back and has signed. */
import { randomBytes } from 'node:crypto';
import type { GenerateRequest, KeyBlobRecord } from '../backend.ts';
import { verifySignature } from '../../wire/public-key.ts';
import { KeydError } from '../../wire/problem.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { TPM_RC } from '../../wire/tpm/constants.ts';
import { parsePublicArea } from '../../wire/tpm/public-area.ts';
import { signingKeyTemplate, type SigningKeyOptions } from '../../wire/tpm/templates.ts';
import { readLoadedPublic, type ObjectSource } from './context-cache.ts';
import type { AuthDeriver } from './key-auth.ts';
import { isTpmCode } from './response-code.ts';
import type { SignAudit } from './sign-audit.ts';
import type { OpenTpm } from './tpm-connection.ts';
import { isExportable, keySource, readTpmKey, tpmKey, type TpmKey } from './tpm-key.ts';
import { digestToSign, signOnTpm, type SessionProtection } from './tpm-signing.ts';
import { SRK_HANDLE } from './tpm-identity.ts';
import { encodeTss2PrivateKey } from './tss2-private-key.ts';

const SALT_OCTETS = 32;
const FIRST_EPOCH = 1;

export interface KeyCreation {
  readonly request: GenerateRequest;
  readonly auths: AuthDeriver;
  readonly protection: SessionProtection;
  /** Counts the signature that proves the key. */
  readonly audit: SignAudit | undefined;
  readonly template?: SigningKeyOptions;
}

/**
 * Makes a key through a salted session: the new auth goes to the TPM encrypted. A key that is kept is read
 * back and used once before it is given out. An ephemeral one is not: TPM2_Certify or its first signature
 * tells as much, and four commands are its whole life (CreateLoaded, Sign, Certify, FlushContext). Its blob
 * is empty, for nothing of it is ever written (S15). Nothing is stored here.
 * @throws KeydError `key_exportable`, `signature_mismatch`, `unsupported_algorithm`; TssFault
 */
export async function createTpmKey(tpm: OpenTpm, creation: KeyCreation): Promise<TpmKey> {
  const { request, auths } = creation;
  const { keyId, purpose, algorithm } = request;
  const identity = { keyId, purpose, algorithm, epoch: FIRST_EPOCH, salt: randomBytes(SALT_OCTETS) };
  const template = signingKeyTemplate(algorithm, creation.template);
  const made = await make(tpm, template, {
    id: keyId,
    auth: () => auths.keyAuth(identity),
  });
  try {
    const key = request.ephemeral === true ? ephemeralKey(identity, made) : keptKey(identity, made);
    checkAttributes(key, template);
    if (request.ephemeral !== true) await proveKey(tpm, key, creation);
    return key;
  } catch (thrown) {
    await tpm.objects.drop(keyId);
    throw thrown;
  }
}

interface MadeKey {
  readonly outPublic: Uint8Array;
  readonly outPrivate: Uint8Array;
}

function keptKey(identity: Omit<KeyBlobRecord, 'blob'>, { outPublic, outPrivate }: MadeKey): TpmKey {
  const blob = encodeTss2PrivateKey({ parent: SRK_HANDLE, publicArea: outPublic, privateArea: outPrivate });
  return readTpmKey({ ...identity, blob });
}

function ephemeralKey(identity: Omit<KeyBlobRecord, 'blob'>, { outPublic, outPrivate }: MadeKey): TpmKey {
  return tpmKey({ ...identity, blob: new Uint8Array() }, outPublic, outPrivate);
}

/** TPM2_CreateLoaded (Part 3 §12.9), which leaves the key in a slot; TPMs before revision 1.38 only have TPM2_Create. */
async function make(
  tpm: OpenTpm,
  inPublic: Uint8Array,
  object: Pick<ObjectSource, 'id' | 'auth'>,
): Promise<MadeKey> {
  const session = await tpm.sessions.use('first', { decrypt: true, encrypt: true });
  await tpm.objects.makeRoom(2);
  const userAuth = object.auth();
  const creation = { parent: tpm.srk.handle, inPublic, userAuth, sessions: [session] };
  try {
    const { handle, outPublic, outPrivate } = await tpm.esys.createLoaded(creation);
    await tpm.objects.adopt(object, handle);
    return { outPublic, outPrivate };
  } catch (thrown) {
    if (!isTpmCode(thrown, TPM_RC.COMMAND_CODE)) throw thrown;
    return await tpm.esys.create(creation);
  } finally {
    userAuth.fill(0);
  }
}

function checkAttributes(key: TpmKey, template: Uint8Array): void {
  if (key.area.attributes === parsePublicArea(template).attributes && !isExportable(key.area)) return;
  throw exportable();
}

async function proveKey(tpm: OpenTpm, key: TpmKey, { audit, auths, protection }: KeyCreation): Promise<void> {
  const handle = await tpm.objects.acquire(keySource(key, tpm, auths));
  const outPublic = await readLoadedPublic(tpm.esys, handle);
  if (!sameOctets(outPublic, key.publicArea)) throw exportable();
  const message = randomBytes(32);
  const digest = digestToSign(key.record.algorithm, { kind: 'message', octets: message });
  const signature = await signOnTpm(tpm, { key, digest, auths, protection, audit });
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

function exportable(): KeydError {
  return new KeydError(
    'key_exportable',
    'The TPM made a key with other attributes than asked for; it is not used',
  );
}
