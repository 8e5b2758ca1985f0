/** The other side of a settlement: a resource signs what a request has cost, so that an agent's budget gets back the rest. */
import { sign, type KeyObject } from 'node:crypto';
import { algorithmEntry } from '../wire/algorithms.ts';
import { contentDigest } from '../wire/content-digest.ts';
import { signatureBase, signatureField, signatureInputField } from '../wire/http-signature.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { BUDGET_FIELD, budgetField, SETTLEMENT_COMPONENTS, type ResourceCost } from '../wire/settlement.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

export type { ResourceCost } from '../wire/settlement.ts';

export interface SettledAnswer {
  /** Of the resource: P-256, P-384 or Ed25519, private. Daemons pin its public half. */
  readonly key: KeyObject;
  /** The `Signature` field of the request, as it came. Of a request that was verified, and is executed now, only. */
  readonly requestSignature: string;
  readonly status: number;
  /** The content as it will be sent; nothing behind this may encode it. */
  readonly body: Uint8Array;
  /** What the request has cost in the end. */
  readonly cost: ResourceCost;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

const LABEL = 'sig';
/** A response has no target; the base asks for one. */
const NO_TARGET = parseTargetUri('https://localhost/');

/**
 * Headers to attach to the answer: `content-digest`, `aauth-budget`, `signature-input` and `signature`.
 * @throws KeydError `configuration_invalid` for a key of another kind, `invalid_component` for a cost of more than
 *   15 digits, `invalid_header` for a signature field that can not be covered
 */
export function settlementHeaders(answer: SettledAnswer): Readonly<Record<string, string>> {
  const { key, requestSignature, status, body, cost, clock = Date.now } = answer;
  const publicJwk = publicHalf(key);
  const headers = { 'content-digest': contentDigest(body), [BUDGET_FIELD]: budgetField(cost) };
  const parameters = [
    ['created', Math.floor(clock() / 1000)],
    ['keyid', jwkThumbprint(publicJwk)],
  ] as const;
  const base = signatureBase(SETTLEMENT_COMPONENTS, parameters, {
    status,
    headers: Object.entries(headers),
    request: { method: 'GET', target: NO_TARGET, headers: [['signature', requestSignature]] },
  });
  const { hash } = algorithmEntry(publicJwk.alg);
  const signature = sign(hash ?? null, Buffer.from(base, 'ascii'), { key, dsaEncoding: 'ieee-p1363' });
  return {
    ...headers,
    'signature-input': signatureInputField(LABEL, SETTLEMENT_COMPONENTS, parameters),
    signature: signatureField(LABEL, signature),
  };
}

const ALGORITHMS: Readonly<Record<string, PublicJwk['alg']>> = {
  'P-256': 'ES256',
  'P-384': 'ES384',
  Ed25519: 'Ed25519',
};

function publicHalf(key: KeyObject): PublicJwk {
  const { kty, crv = '', x, y } = key.type === 'private' ? key.export({ format: 'jwk' }) : {};
  const alg = ALGORITHMS[crv];
  if (alg === undefined)
    throw new KeydError(
      'configuration_invalid',
      'a resource signs with a private key of P-256, P-384 or Ed25519',
    );
  return parsePublicJwk({ kty, crv, x, ...(y === undefined ? {} : { y }), alg });
}
