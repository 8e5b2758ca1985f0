/** Who is calling: the host key's RFC 9421 signature over method, target and content (DECISIONS 11). */
import type { IncomingMessage } from 'node:http';
import { verifyContentDigest } from '../wire/content-digest.ts';
import { fieldValues, type FieldLine } from '../wire/field-lines.ts';
import { signatureBase, type SignatureParameters } from '../wire/http-signature.ts';
import {
  HOST_SIGNATURE_COMPONENTS,
  HOST_SIGNATURE_LABEL,
  HOST_SIGNATURE_SKEW_SECONDS,
  HOST_SIGNATURE_TAG,
} from '../wire/issuance/host-signature.ts';
import { KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import { receivedSignature, signatureParameter, type ReceivedSignature } from '../wire/signature-fields.ts';
import { parseTargetUri } from '../wire/target-uri.ts';
import { headerLines } from './http/request-body.ts';
import { nowSeconds, type IssuerContext } from './issuer-context.ts';
import type { EnrolledHost } from './store/host-records.ts';

const PARAMETERS = ['created', 'nonce', 'keyid', 'tag'] as const;
const NONCE = /^[A-Za-z0-9_-]{16,64}$/;
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;

/**
 * The enrolled host that signed this request. `@target-uri` is made of the configured URL and the route's path:
 * nothing the request says about where it went counts (S5).
 * @throws KeydError `invalid_header`, `verification_failed`, `signature_invalid`, `replayed`
 */
export async function authenticateHost(
  context: IssuerContext,
  request: IncomingMessage,
  path: string,
  body: Uint8Array,
): Promise<EnrolledHost> {
  const lines = headerLines(request);
  const digest = onlyLine(lines, 'content-digest');
  onlyLine(lines, 'signature-input');
  onlyLine(lines, 'signature');
  const received = receivedSignature(lines, HOST_SIGNATURE_LABEL);
  const { created, nonce, keyid } = readParameters(received);
  const now = nowSeconds(context);
  if (Math.abs(created - now) > HOST_SIGNATURE_SKEW_SECONDS) {
    throw new KeydError(
      'verification_failed',
      `the host signature is ${Math.abs(created - now)} s from the issuer's clock; compare the clocks`,
    );
  }
  verifyContentDigest(digest, body);
  const host = await context.store.hosts.byHostKey(keyid);
  if (host === undefined) {
    throw new KeydError('signature_invalid', 'no enrolled host has this key; enrol again');
  }
  const base = signatureBase(received.components, received.parameters, {
    method: request.method ?? '',
    target: parseTargetUri(context.config.url + path),
    headers: [['content-digest', digest]],
  });
  if (!verifySignature(host.hostKey, Buffer.from(base), received.signature)) {
    throw new KeydError('signature_invalid', 'the host signature does not verify');
  }
  const expires = created + HOST_SIGNATURE_SKEW_SECONDS + 1;
  await context.store.nonces.use(keyid, nonce, expires, now);
  return host;
}

/** The AK that a signed request names is the signer's own. @throws KeydError `policy_denied` */
export function requireOwnAk(host: EnrolledHost, akId: string): void {
  if (host.akId !== akId) throw new KeydError('policy_denied', 'a host speaks for its own AK only');
}

function readParameters({ components, parameters }: ReceivedSignature): {
  readonly created: number;
  readonly nonce: string;
  readonly keyid: string;
} {
  const covered = components.map(({ name, parameters: own }) => (own.length === 0 ? name : `${name};`));
  if (covered.join(' ') !== HOST_SIGNATURE_COMPONENTS.join(' ')) {
    throw new KeydError(
      'verification_failed',
      `the host signature must cover ${HOST_SIGNATURE_COMPONENTS.join(', ')}`,
    );
  }
  requireExactly(parameters);
  const created = signatureParameter(parameters, 'created');
  const nonce = signatureParameter(parameters, 'nonce');
  const keyid = signatureParameter(parameters, 'keyid');
  if (typeof created !== 'number' || !Number.isSafeInteger(created) || created < 0)
    return malformed('created');
  if (typeof nonce !== 'string' || !NONCE.test(nonce)) return malformed('nonce');
  if (typeof keyid !== 'string' || !THUMBPRINT.test(keyid)) return malformed('keyid');
  if (signatureParameter(parameters, 'tag') !== HOST_SIGNATURE_TAG) return malformed('tag');
  return { created, nonce, keyid };
}

function requireExactly(parameters: SignatureParameters): void {
  const names = parameters.map(([name]) => name).sort();
  if (names.join(' ') !== [...PARAMETERS].sort().join(' ')) {
    throw new KeydError(
      'verification_failed',
      `the host signature must have the parameters ${PARAMETERS.join(', ')} and no other`,
    );
  }
}

function onlyLine(lines: readonly FieldLine[], name: string): string {
  const [value, ...more] = fieldValues(lines, name);
  if (value === undefined) throw new KeydError('verification_failed', `the request has no ${name}`);
  if (more.length > 0) throw new KeydError('invalid_header', `the request has ${name} twice`);
  return value;
}

function malformed(parameter: string): never {
  throw new KeydError('verification_failed', `the host signature has no usable ${parameter}`);
}
