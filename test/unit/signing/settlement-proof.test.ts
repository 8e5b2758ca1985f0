/** S8: a refund needs a response signed by the resource's pinned key over status, content and this very request. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { SettleableRequest } from '../../../src/signing/settleable.ts';
import { provenCost, type SettlementResponse } from '../../../src/signing/settlement-proof.ts';
import { settlementHeaders } from '../../../src/verify/settlement.ts';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
  type SignatureComponent,
} from '../../../src/wire/http-signature.ts';
import type { SignatureParameters } from '../../../src/wire/http-signature.ts';
import { parsePublicJwk, type PublicJwk } from '../../../src/wire/jwk.ts';
import { SETTLEMENT_COMPONENTS } from '../../../src/wire/settlement.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOf } from '../../support/code-of.ts';
import { signOctets, testKey } from '../../support/signed-request.ts';

const NOW_MS = 1_800_000_000_000;
const NOW_S = NOW_MS / 1000;
const SIGNATURE = `sig=:${Buffer.alloc(64, 7).toString('base64')}:`;
const key = testKey('ES256');

const request: SettleableRequest = {
  method: 'POST',
  target: parseTargetUri('https://bank.example/pay'),
  headers: [['signature', SIGNATURE]],
  signedAtMs: NOW_MS - 2000,
};
const body = Buffer.from('{"charged":5}');

interface Answer {
  readonly status?: number;
  readonly budget?: string;
  readonly components?: readonly SignatureComponent[];
  readonly parameters?: SignatureParameters;
  readonly of?: string;
  readonly label?: string;
}

/** A response that is signed as told, right in all that is not told otherwise. */
function signed(answer: Answer = {}): SettlementResponse {
  const { status = 200, budget = 'cost=5, unit="USD", decimals=2', of = SIGNATURE, label = 'sig' } = answer;
  const components = answer.components ?? SETTLEMENT_COMPONENTS;
  const parameters = answer.parameters ?? [['created', NOW_S]];
  const { 'content-digest': digest = '' } = settlementHeaders({
    ...{ key: generateKey(), requestSignature: of, status, body },
    cost: { unit: 'USD', decimals: 2, amount: 5n },
  });
  const headers: [string, string][] = [
    ['content-digest', digest],
    ['aauth-budget', budget],
  ];
  const base = signatureBase(components, parameters, {
    status,
    headers,
    request: { ...request, headers: [['signature', of]] },
  });
  headers.push(['signature-input', signatureInputField(label, components, parameters)]);
  headers.push(['signature', signatureField(label, signOctets(key, Buffer.from(base)))]);
  return { status, headers, body };
}

function generateKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

const judged = (response: SettlementResponse, keys: readonly PublicJwk[] = [key.jwk]) =>
  provenCost(response, request, keys, NOW_MS);
const refusal = (response: SettlementResponse, keys?: readonly PublicJwk[]) =>
  codeOf(() => judged(response, keys));

function changed(response: SettlementResponse, name: string, value: string): SettlementResponse {
  const headers = response.headers.map(([given, old]) => [given, given === name ? value : old] as const);
  return { ...response, headers };
}

describe('S8: what a resource signed', () => {
  it('is believed to the smallest part', () => {
    expect(judged(signed())).toEqual({ unit: 'USD', decimals: 2, amount: 5n });
    expect(judged(signed({ budget: 'cost=0, remaining=98, unit="EUR", decimals=15' }))).toEqual({
      ...{ unit: 'EUR', decimals: 15, amount: 0n },
    });
    expect(judged(signed({ label: 'sig1' })).amount).toBe(5n);
  });

  it.each(['P-256', 'P-384', 'Ed25519'])('by settlementHeaders with %s, is believed', (curve) => {
    const { privateKey, publicKey } =
      curve === 'Ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: curve });
    const alg = { 'P-256': 'ES256', 'P-384': 'ES384' }[curve] ?? 'Ed25519';
    const pinned = parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg });
    const headers = settlementHeaders({
      ...{ key: privateKey, requestSignature: SIGNATURE, status: 201, body, clock: () => NOW_MS },
      cost: { unit: 'USD', decimals: 6, amount: 123_456_789_012_345n },
    });
    const response = { status: 201, headers: Object.entries(headers), body };
    expect(judged(response, [key.jwk, pinned]).amount).toBe(123_456_789_012_345n);
    expect(refusal({ ...response, status: 200 }, [pinned])).toBe('signature_invalid');
  });

  it('and something of it was changed, is not', () => {
    const good = signed();
    expect(refusal({ ...good, status: 402 })).toBe('signature_invalid');
    expect(refusal({ ...good, body: Buffer.from('{"charged":6}') })).toBe('verification_failed');
    expect(refusal({ status: good.status, headers: good.headers })).toBe('verification_failed');
    expect(refusal(changed(good, 'aauth-budget', 'cost=4, unit="USD", decimals=2'))).toBe(
      'signature_invalid',
    );
    expect(refusal(changed(good, 'aauth-budget', 'cost=5, unit="USD", decimals=3'))).toBe(
      'signature_invalid',
    );
    expect(refusal({ ...good, headers: [...good.headers, ['aauth-budget', 'cost=1']] })).toBe(
      'invalid_header',
    );
    for (const [index, [name]] of good.headers.entries()) {
      const headers = good.headers.filter((_, at) => at !== index);
      expect(['invalid_header', 'verification_failed'], name).toContain(refusal({ ...good, headers }));
    }
  });

  it('for another request, or with another key, is not', () => {
    expect(refusal(signed({ of: `sig=:${Buffer.alloc(64, 8).toString('base64')}:` }))).toBe(
      'signature_invalid',
    );
    expect(refusal(signed(), [testKey('ES256').jwk])).toBe('signature_invalid');
    expect(refusal(signed(), [testKey('Ed25519').jwk])).toBe('signature_invalid');
    expect(refusal(signed(), [])).toBe('signature_invalid');
  });

  it.each(SETTLEMENT_COMPONENTS.map((item, index) => [item.name, index] as const))(
    'without covering %s, is not',
    (_, index) => {
      const components = SETTLEMENT_COMPONENTS.filter((__, at) => at !== index);
      expect(refusal(signed({ components }))).toBe('verification_failed');
    },
  );

  it('with its own signature field covered in place of the request’s, is not', () => {
    const components = [...SETTLEMENT_COMPONENTS.slice(0, 3), component('signature')];
    const good = signed();
    const input = signatureInputField('sig', components, [['created', NOW_S]]);
    expect(refusal(changed(good, 'signature-input', input))).toBe('verification_failed');
  });

  it.each([
    ['cost=-1, unit="USD", decimals=2'],
    ['cost=-0, unit="USD", decimals=2'],
    ['cost=0.5, unit="USD", decimals=2'],
    ['cost="5", unit="USD", decimals=2'],
    ['cost=5;x=1, unit="USD", decimals=2'],
    ['cost=1000000000000000, unit="USD", decimals=2'],
    ['cost=5, cost=1, unit="USD", decimals=2'],
    ['cost=(1 2), unit="USD", decimals=2'],
    ['unit="USD", decimals=2'],
    ['cost=5, decimals=2'],
    ['cost=5, unit="USD"'],
    ['cost=5, unit=USD, decimals=2'],
    ['cost=5, unit="US.D", decimals=2'],
    ['cost=5, unit="USD", decimals=16'],
    ['cost=5, unit="USD", decimals=-1'],
    ['cost=5,unit="USD",decimals=2'],
    ['cost=05, unit="USD", decimals=2'],
    [''],
  ])('but says %s, is not', (budget) => {
    expect(refusal(signed({ budget }))).toBe('invalid_header');
  });

  it.each<[string, SignatureParameters]>([
    ['without created', []],
    ['before the request', [['created', NOW_S - 63]]],
    ['in the future', [['created', NOW_S + 61]]],
    ['with created as text', [['created', String(NOW_S)]]],
    [
      'and expired',
      [
        ['created', NOW_S],
        ['expires', NOW_S - 61],
      ],
    ],
    [
      'with a parameter nobody knows',
      [
        ['created', NOW_S],
        ['scope', 'x'],
      ],
    ],
  ])('%s, is not', (_, parameters) => {
    expect(refusal(signed({ parameters }))).toBe('verification_failed');
  });

  it('under another algorithm than its key’s, is not', () => {
    const alg = (name: string): SignatureParameters => [
      ['created', NOW_S],
      ['alg', name],
    ];
    expect(judged(signed({ parameters: alg('ecdsa-p256-sha256') })).amount).toBe(5n);
    expect(refusal(signed({ parameters: alg('ed25519') }))).toBe('signature_invalid');
  });

  it('twice, is not: it would be open which counts', () => {
    const [one, two] = [signed(), signed({ label: 'other' })];
    const both = (name: string) =>
      [one, two].map(({ headers }) => headers.find(([given]) => given === name)?.[1] ?? '').join(', ');
    const headers = one.headers.map(
      ([name, value]) => [name, name.startsWith('signature') ? both(name) : value] as const,
    );
    expect(refusal({ ...one, headers })).toBe('verification_failed');
  });
});
