import { createHmac, createPrivateKey, createPublicKey, sign, verify, constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
  type SignatureComponent,
  type SignedMessage,
  type SignedRequest,
} from '../../../src/wire/http-signature.ts';
import type { SfParameters } from '../../../src/wire/structured-fields.ts';
import { isInnerList, parseSfDictionary } from '../../../src/wire/structured-fields-parse.ts';
import { verifyContentDigest } from '../../../src/wire/content-digest.ts';
import type { FieldLine } from '../../../src/wire/field-lines.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { receivedSignature } from '../../../src/wire/signature-fields.ts';
import { parsePublicJwk } from '../../../src/wire/jwk.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { codeOf } from '../../support/code-of.ts';

interface Message {
  readonly start_line: string;
  readonly headers: readonly FieldLine[];
  readonly body?: string;
}
interface Case {
  readonly section: string;
  readonly label: string;
  readonly alg: string;
  readonly keyid: string;
  readonly deterministic: boolean;
  readonly message?: Message;
  readonly signature_base: string;
  readonly signature_input: string;
  readonly signature: string;
  readonly content_digest_matches_body?: boolean;
  readonly variants?: readonly (Message & { readonly name: string; readonly valid: boolean })[];
}

const vectors = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), 'utf8'));
const { cases } = vectors('rfc9421-b2-b3-b4.json') as { cases: readonly Case[] };
const { keys } = vectors('rfc9421-b1-keys.json') as {
  keys: Record<string, { pem_private: string; pem_public: string; secret_base64: string }>;
};

function readInput(input: string): {
  label: string;
  components: SignatureComponent[];
  parameters: SfParameters;
} {
  const [entry] = [...parseSfDictionary(input, 'Signature-Input')];
  if (entry === undefined || !isInnerList(entry[1])) throw new Error('no inner list');
  const [label, { items, parameters }] = entry;
  const components = items.map(({ value, parameters: own }) => component(value as string, own));
  return { label, components, parameters };
}

function toMessage({ start_line, headers }: Message): SignedMessage {
  const [first = '', second = ''] = start_line.split(' ');
  if (first.startsWith('HTTP/')) return { status: Number(second), headers };
  const host = headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? '';
  return { method: first, target: parseTargetUri(`https://${host}${second}`), headers };
}

const octetsOf = (field: string): Buffer => Buffer.from(/=:(.*):$/.exec(field)?.[1] ?? '', 'base64');

function verifies(vector: Case, base: string): boolean {
  const key = keys[vector.keyid];
  if (key === undefined) throw new Error('no key');
  const signature = octetsOf(vector.signature);
  const message = Buffer.from(base);
  switch (vector.alg) {
    case 'hmac-sha256':
      return createHmac('sha256', Buffer.from(key.secret_base64, 'base64'))
        .update(message)
        .digest()
        .equals(signature);
    case 'ed25519':
      return verify(null, message, key.pem_public, signature);
    case 'ecdsa-p256-sha256':
      return verify('sha256', message, { key: key.pem_public, dsaEncoding: 'ieee-p1363' }, signature);
    default:
      return verify(
        'sha512',
        message,
        { key: createPublicKey(key.pem_public), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 },
        signature,
      );
  }
}

describe('RFC 9421 appendix B', () => {
  it('has the vectors', () => {
    expect(cases.map((vector) => vector.section)).toEqual([
      'B.2.1',
      'B.2.2',
      'B.2.3',
      'B.2.4',
      'B.2.5',
      'B.2.6',
      'B.3',
      'B.4',
    ]);
  });

  it.each(cases.filter((vector) => vector.message !== undefined))(
    '$section: same base, verifies',
    (vector) => {
      const { message } = vector;
      if (message === undefined) throw new Error('filtered');
      const { label, components, parameters } = readInput(vector.signature_input);
      const base = signatureBase(components, parameters, toMessage(message));
      expect(base).toBe(vector.signature_base);
      expect(verifies(vector, base)).toBe(true);
      expect(signatureInputField(label, components, parameters)).toBe(vector.signature_input);
      expect(signatureField(label, octetsOf(vector.signature))).toBe(vector.signature);
      const digest = message.headers.find(([name]) => name.toLowerCase() === 'content-digest')?.[1];
      if (digest !== undefined && vector.content_digest_matches_body === true) {
        expect(
          codeOf(() => {
            verifyContentDigest(digest, Buffer.from(message.body ?? ''));
          }),
        ).toBeUndefined();
      }
    },
  );

  it('B.2.6: signing with Ed25519 gives the same octets', () => {
    const vector = cases.find(({ section }) => section === 'B.2.6');
    const key = keys['test-key-ed25519'];
    if (vector?.message === undefined || key === undefined) throw new Error('no vector');
    const { components, parameters } = readInput(vector.signature_input);
    const base = signatureBase(components, parameters, toMessage(vector.message));
    expect(sign(null, Buffer.from(base), createPrivateKey(key.pem_private))).toEqual(
      octetsOf(vector.signature),
    );
  });

  const transform = cases.find(({ section }) => section === 'B.4');
  it.each(transform?.variants ?? [])('B.4 $name: valid $valid', (variant) => {
    if (transform === undefined) throw new Error('no vector');
    const { components, parameters } = readInput(transform.signature_input);
    const base = signatureBase(components, parameters, toMessage(variant));
    expect(verifies(transform, base)).toBe(variant.valid);
    expect(base === transform.signature_base).toBe(variant.valid);
  });
});

describe('signatureBase', () => {
  const request: SignedRequest = {
    method: 'POST',
    target: parseTargetUri('https://rs.example:8443/a/b?x=1&y=two%20words&x=2&z=%C3%A9+~'),
    headers: [
      ['X-List', ' a '],
      ['x-list', '\tb, c'],
      ['Bad', 'a\r\n b'],
      ['Empty', ''],
      ['Latin', 'é'],
    ],
  };
  const base = (name: string, parameters: SfParameters = [], message: SignedMessage = request): string =>
    signatureBase([component(name, parameters)], [], message).split('\n')[0] ?? '';
  const code = (name: string, parameters: SfParameters = [], message: SignedMessage = request): unknown =>
    codeOf(() => base(name, parameters, message));

  it.each([
    ['@method', 'POST'],
    ['@target-uri', request.target.canonical],
    ['@authority', 'rs.example:8443'],
    ['@scheme', 'https'],
    ['@path', '/a/b'],
    ['@query', '?x=1&y=two%20words&x=2&z=%C3%A9+~'],
    ['@request-target', '/a/b?x=1&y=two%20words&x=2&z=%C3%A9+~'],
    ['x-list', 'a, b, c'],
    ['empty', ''],
  ])('%s is %j', (name, value) => {
    expect(base(name)).toBe(`"${name}": ${value}`);
  });

  it('writes a lone "?" for an absent query (RFC 9421 §2.2.7)', () => {
    expect(base('@query', [], { ...request, target: parseTargetUri('https://rs.example/') })).toBe(
      '"@query": ?',
    );
  });

  it('writes query parameters anew (RFC 9421 §2.2.8)', () => {
    expect(base('@query-param', [['name', 'y']])).toBe('"@query-param";name="y": two%20words');
    expect(base('@query-param', [['name', 'z']])).toBe('"@query-param";name="z": %C3%A9%20%7E');
    expect(code('@query-param', [['name', 'x']])).toBe('invalid_component');
    expect(code('@query-param', [['name', 'absent']])).toBe('invalid_component');
    expect(code('@query-param')).toBe('invalid_component');
  });

  it('takes components of the request into a response only with req', () => {
    const response = { status: 503, headers: [['X-List', 'r']] as const, request };
    expect(base('@status', [], response)).toBe('"@status": 503');
    expect(base('@method', [['req', true]], response)).toBe('"@method";req: POST');
    expect(base('x-list', [], response)).toBe('"x-list": r');
    expect(base('x-list', [['req', true]], response)).toBe('"x-list";req: a, b, c');
    expect(code('@method', [], response)).toBe('invalid_component');
    expect(code('@status', [['req', true]], response)).toBe('invalid_component');
    expect(code('@method', [['req', true]], { status: 200, headers: [] })).toBe('invalid_component');
  });

  it.each([
    ['an unknown derived component', '@foo', []],
    ['@status in a request', '@status', []],
    ['@signature-params', '@signature-params', []],
    ['an upper-case field name', 'X-List', []],
    ['a field name that is no token', 'x list', []],
    ['sf', 'x-list', [['sf', true]]],
    ['bs', 'x-list', [['bs', true]]],
    ['tr', 'x-list', [['tr', true]]],
    ['key', 'x-list', [['key', 'a']]],
    ['req in a request', '@method', [['req', true]]],
    ['name on @path', '@path', [['name', 'a']]],
    ['a parameter on @method', '@method', [['x', true]]],
  ] as const)('refuses %s', (_what, name, parameters) => {
    expect(code(name, parameters)).toBe('invalid_component');
  });

  it.each(['absent', 'bad', 'latin'])('refuses the field %s: absent, folded, not ASCII', (name) => {
    expect(code(name)).toBe('invalid_header');
  });

  it('refuses a component covered twice, whatever the order of its parameters', () => {
    const twice = [component('@method'), component('@method')];
    expect(codeOf(() => signatureBase(twice, [], request))).toBe('invalid_component');
  });
});

describe('WIMSE HTTP signature (draft-ietf-wimse-s2s-protocol)', () => {
  const { http_sig: vector } = vectors('wimse.json') as {
    http_sig: { request: string; caller_jwk: { x: string }; signature_base: string };
  };

  it('same base, with its own parameters, and verifies', () => {
    const [start = '', ...lines] = vector.request.trimEnd().split('\n');
    const headers = lines.map((line): FieldLine => [
      line.slice(0, line.indexOf(':')),
      line.slice(line.indexOf(':') + 1),
    ]);
    const { components, parameters, signature } = receivedSignature(headers, 'wimse');
    const base = signatureBase(
      components,
      parameters,
      toMessage({ start_line: start, headers: headers.map(([n, v]) => [n, v.trim()]) }),
    );
    expect(base).toBe(vector.signature_base);
    const jwk = parsePublicJwk({ kty: 'OKP', crv: 'Ed25519', x: vector.caller_jwk.x, alg: 'Ed25519' });
    expect(verifySignature(jwk, Buffer.from(base), signature)).toBe(true);
    expect(verifySignature(jwk, Buffer.from(`${base} `), signature)).toBe(false);
  });
});
