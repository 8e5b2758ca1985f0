/** Whether a response proves what its request has cost (S8); what is in doubt proves nothing, and all stays spent. */
import { algorithmEntry } from '../wire/algorithms.ts';
import { verifyContentDigest } from '../wire/content-digest.ts';
import { combinedFieldValue, fieldValues, type FieldLine } from '../wire/field-lines.ts';
import { componentIdentifier, signatureBase } from '../wire/http-signature.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import {
  BUDGET_FIELD,
  parseBudgetField,
  SETTLEMENT_COMPONENTS,
  type ResourceCost,
} from '../wire/settlement.ts';
import { receivedSignature, signatureParameter, type ReceivedSignature } from '../wire/signature-fields.ts';
import { parseSfDictionary } from '../wire/structured-fields-parse.ts';
import type { SettleableRequest } from './settleable.ts';

export interface SettlementResponse {
  readonly status: number;
  /** As they came. */
  readonly headers: readonly FieldLine[];
  /** The content as it came, before any decoding. */
  readonly body?: Uint8Array;
}

/** A resource's clock and ours may differ by this much. */
const CLOCK_SKEW_SECONDS = 60;
const KNOWN_PARAMETERS = new Set(['created', 'expires', 'nonce', 'keyid', 'alg', 'tag']);

/**
 * What the request has cost by the word of its resource.
 * @param nowMs milliseconds since the epoch
 * @param keys pinned for the origin of the request; one of them must have signed
 * @throws KeydError `invalid_header`, `invalid_component` for what is malformed or absent, `verification_failed`
 *   where something is not covered, the content differs or the time does not fit, `signature_invalid`
 */
export function provenCost(
  response: SettlementResponse,
  request: SettleableRequest,
  keys: readonly PublicJwk[],
  nowMs: number,
): ResourceCost {
  const { status, headers, body = new Uint8Array() } = response;
  for (const name of [BUDGET_FIELD, 'content-digest']) {
    if (fieldValues(headers, name).length !== 1)
      throw new KeydError('invalid_header', `the response must have one ${name}`);
  }
  const signature = onlySignature(headers);
  requireCoverage(signature);
  requireTimes(signature, request.signedAtMs, nowMs);
  const base = signatureBase(signature.components, signature.parameters, { status, headers, request });
  if (!keys.some((key) => isBy(key, base, signature)))
    throw new KeydError('signature_invalid', 'the response is not signed by a key pinned for its origin');
  verifyContentDigest(combinedFieldValue(headers, 'content-digest'), body);
  return parseBudgetField(combinedFieldValue(headers, BUDGET_FIELD));
}

/** With two, it would be open which of them counts. */
function onlySignature(headers: readonly FieldLine[]): ReceivedSignature {
  const labels = [
    ...parseSfDictionary(combinedFieldValue(headers, 'signature-input'), 'signature-input').keys(),
  ];
  const [label, ...more] = labels;
  if (label === undefined || more.length > 0)
    throw new KeydError('verification_failed', 'the response must have one signature');
  return receivedSignature(headers, label);
}

function requireCoverage({ components }: ReceivedSignature): void {
  const covered = new Set(components.map(componentIdentifier));
  const missing = SETTLEMENT_COMPONENTS.map(componentIdentifier).filter((name) => !covered.has(name));
  if (missing.length > 0)
    throw new KeydError(
      'verification_failed',
      `the response’s signature does not cover ${missing.join(', ')}`,
    );
}

function requireTimes({ parameters }: ReceivedSignature, signedAtMs: number, nowMs: number): void {
  const unknown = parameters.find(([name]) => !KNOWN_PARAMETERS.has(name));
  if (unknown !== undefined)
    refuse(`has the parameter ${unknown[0].slice(0, 32)}, which is not understood here`);
  const created = signatureParameter(parameters, 'created');
  const expires = signatureParameter(parameters, 'expires');
  const nowSeconds = Math.floor(nowMs / 1000);
  if (typeof created !== 'number') return refuse('has no created');
  if (created < Math.floor(signedAtMs / 1000) - CLOCK_SKEW_SECONDS) refuse('is older than the request');
  if (created > nowSeconds + CLOCK_SKEW_SECONDS) refuse('was created in the future');
  if (expires === undefined) return;
  if (typeof expires !== 'number' || expires < nowSeconds - CLOCK_SKEW_SECONDS) refuse('has expired');
}

function isBy(key: PublicJwk, base: string, { parameters, signature }: ReceivedSignature): boolean {
  const alg = signatureParameter(parameters, 'alg');
  // The key decides (RFC 9421 §3.2 step 6); a message may only agree with it.
  if (alg !== undefined && alg !== algorithmEntry(key.alg).httpSignatureName) return false;
  return verifySignature(key, Buffer.from(base, 'ascii'), signature);
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', `the response’s signature ${reason}`);
}
