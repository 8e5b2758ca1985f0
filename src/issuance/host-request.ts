/** Calls to the issuer that carry the host key's RFC 9421 signature (DECISIONS 11). */
import { randomBytes } from 'node:crypto';
import type { HardwareKey, KeyBackend } from '../backend/backend.ts';
import { contentDigest } from '../wire/content-digest.ts';
import {
  HOST_SIGNATURE_COMPONENTS,
  HOST_SIGNATURE_LABEL,
  HOST_SIGNATURE_TAG,
} from '../wire/issuance/host-signature.ts';
import { component, signatureBase, signatureField, signatureInputField } from '../wire/http-signature.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { parseTargetUri } from '../wire/target-uri.ts';
import { toJson } from '../wire/json-octets.ts';
import type { IssuerChannel } from './issuer-channel.ts';

/** Posts JSON without a signature: enrolment, whose evidence speaks for itself. */
export async function postJson(channel: IssuerChannel, path: string, value: unknown): Promise<unknown> {
  return channel.exchange('POST', path, { 'content-type': 'application/json' }, jsonOctets(value));
}

/** Posts JSON signed by the host key over `@method`, `@target-uri` and `content-digest`. */
export async function postSigned(
  channel: IssuerChannel,
  backend: KeyBackend,
  hostKey: HardwareKey,
  path: string,
  value: unknown,
  nowMs: number,
): Promise<unknown> {
  const body = jsonOctets(value);
  const digest = contentDigest(body);
  const components = HOST_SIGNATURE_COMPONENTS.map((name) => component(name));
  const parameters = [
    ['created', Math.floor(nowMs / 1000)],
    ['nonce', randomBytes(16).toString('base64url')],
    ['keyid', jwkThumbprint(hostKey.publicJwk)],
    ['tag', HOST_SIGNATURE_TAG],
  ] as const;
  const base = signatureBase(components, parameters, {
    method: 'POST',
    target: parseTargetUri(channel.target(path)),
    headers: [['content-digest', digest]],
  });
  const signature = await backend.sign(hostKey.keyId, { kind: 'message', octets: Buffer.from(base) });
  const headers = {
    'content-type': 'application/json',
    'content-digest': digest,
    'signature-input': signatureInputField(HOST_SIGNATURE_LABEL, components, parameters),
    signature: signatureField(HOST_SIGNATURE_LABEL, signature),
  };
  return channel.exchange('POST', path, headers, body);
}

function jsonOctets(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(toJson(value)));
}
