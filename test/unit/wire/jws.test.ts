import { readFileSync } from 'node:fs';
import { CompactSign, compactVerify, importJWK } from 'jose';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/wire/jcs.ts';
import { decodeJws, decodeJwt, joinJws, jwsSigningInput } from '../../../src/wire/jws.ts';
import { jwkThumbprint, parsePublicJwk } from '../../../src/wire/jwk.ts';
import { ALGORITHMS } from '../../../src/wire/algorithms.ts';
import { publicKeyObject, verifySignature } from '../../../src/wire/public-key.ts';
import { normaliseTyp } from '../../../src/wire/typ.ts';
import { codeOf } from '../../support/code-of.ts';
import { signJwt, signOctets, testKey } from '../../support/signed-request.ts';

const vectors = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), 'utf8'));
const b64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

describe('JWS', () => {
  const { jwk, jws } = vectors('rfc7515-a3-es256.json') as {
    jwk: { kty: string; crv: string; x: string; y: string };
    jws: string;
  };
  const { kty, crv, x, y } = jwk;

  it('RFC 7515 A.3 verifies, and one changed octet does not', () => {
    const key = parsePublicJwk({ kty, crv, x, y, alg: 'ES256' });
    const { header, payload, signature, signingInput } = decodeJws(jws);
    expect(header).toEqual({ alg: 'ES256' });
    expect(Buffer.from(payload).toString()).toContain('"joe"');
    expect(verifySignature(key, Buffer.from(signingInput), signature)).toBe(true);
    expect(verifySignature(key, Buffer.from(`${signingInput}A`), signature)).toBe(false);
  });

  it('cut anywhere, it is refused or does not verify', () => {
    const key = parsePublicJwk({ kty, crv, x, y, alg: 'ES256' });
    for (let end = 0; end < jws.length; end += 1) {
      let verifies = false;
      const code = codeOf(() => {
        const { signingInput, signature } = decodeJws(jws.slice(0, end));
        verifies = verifySignature(key, Buffer.from(signingInput), signature);
      });
      expect([undefined, 'malformed_jws']).toContain(code);
      expect(verifies, `cut at ${end}`).toBe(false);
    }
  });

  it.each(ALGORITHMS)('%s: jose verifies ours, we verify jose’s', async (alg) => {
    const key = testKey(alg);
    const mine = signJwt(key, { typ: 'x+jwt' }, { b: 1, a: 'é' });
    const theirs = await compactVerify(mine, await importJWK({ ...key.jwk }));
    expect(theirs.protectedHeader).toEqual({ alg, typ: 'x+jwt' });
    expect(new TextDecoder().decode(theirs.payload)).toBe('{"a":"é","b":1}');
    const jose = await new CompactSign(Buffer.from('{"x":1}'))
      .setProtectedHeader({ alg })
      .sign(key.privateKey);
    const decoded = decodeJwt(jose);
    expect(decoded.claims).toEqual({ x: 1 });
    expect(verifySignature(key.jwk, Buffer.from(decoded.signingInput), decoded.signature)).toBe(true);
  });

  const header = b64({ alg: 'ES256' });
  it.each([
    ['two parts', `${header}.${b64({})}`],
    ['four parts', `${header}.${b64({})}.AAAA.AAAA`],
    ['no signature', `${header}.${b64({})}.`],
    ['padding', `${header}=.${b64({})}.AAAA`],
    ['standard base64', `${header}.${b64({})}.+/AA`],
    ['white space', `${header}.${b64({})}.AA AA`],
    ['bits to spare in the signature', `${header}.${b64({})}.AAB`],
    ['a header that is no JSON', `${b64('x')}.${b64({})}.AAAA`],
    ['a header that is an array', `${b64([])}.${b64({})}.AAAA`],
    ['a header without alg', `${b64({ typ: 'a' })}.${b64({})}.AAAA`],
    ['an alg that is no string', `${b64({ alg: 1 })}.${b64({})}.AAAA`],
    ['a header member twice', `${b64('{"alg":"ES256","alg":"none"}')}.${b64({})}.AAAA`],
    ['crit', `${b64({ alg: 'ES256', crit: ['exp'] })}.${b64({})}.AAAA`],
    ['b64', `${b64({ alg: 'ES256', b64: false })}.${b64({})}.AAAA`],
    ['a header of more than 4096 octets', `${b64({ alg: 'ES256', x: 'x'.repeat(4096) })}.${b64({})}.AAAA`],
    ['a JWS that is too long', `${header}.${b64('x'.repeat(20_000))}.AAAA`],
    ['a payload that is no object', `${header}.${b64('[]')}.AAAA`],
    ['a payload with a member twice', `${header}.${b64('{"sub":"a","sub":"b"}')}.AAAA`],
  ])('refuses %s', (_what, text) => {
    expect(codeOf(() => decodeJwt(text))).toBe('malformed_jws');
  });

  it('signs octets as they are', () => {
    const input = jwsSigningInput({ alg: 'ES256' }, Buffer.from('any'));
    expect(decodeJws(joinJws(input, Buffer.from([1]))).payload).toEqual(new Uint8Array(Buffer.from('any')));
  });
});

describe('canonicalJson (RFC 8785)', () => {
  it('§3.2.2 and §3.2.3: numbers, strings and the order of members', () => {
    const value = {
      numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
      string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/',
      literals: [null, true, false],
    };
    expect(canonicalJson(value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
    const names = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 };
    expect([...canonicalJson(names).matchAll(/:(\d)/g)].map(([, digit]) => Number(digit))).toEqual([
      2, 4, 6, 7, 1, 5, 3,
    ]);
  });

  it.each([
    ['undefined', undefined],
    ['a member that is undefined', { a: undefined }],
    ['NaN', NaN],
    ['infinity', Infinity],
    ['-0', -0],
    ['a bigint', 1n],
    ['a lone surrogate', '\ud800'],
    ['a lone surrogate in a name', { '\udc00': 1 }],
    ['a date', new Date(0)],
    ['a map', new Map()],
    ['a function', () => 1],
  ])('refuses %s', (_what, value) => {
    expect(codeOf(() => canonicalJson(value))).toBe('malformed_json');
  });

  it('refuses a loop', () => {
    const loop: Record<string, unknown> = {};
    loop['loop'] = loop;
    expect(codeOf(() => canonicalJson(loop))).toBe('malformed_json');
  });
});

describe('normaliseTyp', () => {
  it.each([
    ['DPoP+JWT', 'dpop+jwt'],
    ['application/dpop+jwt', 'dpop+jwt'],
    ['APPLICATION/Wit+Jwt', 'wit+jwt'],
    ['text/plain', 'text/plain'],
    ['JWT', 'jwt'],
  ])('%s is %s', (typ, normal) => {
    expect(normaliseTyp(typ)).toBe(normal);
  });

  it.each([
    undefined,
    null,
    1,
    '',
    'a b',
    'a\0',
    ' jwt',
    'jwt ',
    '\u212aey',
    'wit\uff0bjwt',
    'application/',
    'application/application/dpop+jwt',
    'a/b/c',
    '/a',
    '+jwt',
    'a;b=c',
    'x'.repeat(128),
  ])('S1: refuses %j', (typ) => {
    expect(codeOf(() => normaliseTyp(typ))).toBe('malformed_request');
  });
});

describe('public keys', () => {
  const { cases } = vectors('jwk-thumbprints.json') as {
    cases: { ref: string; jwk: { kty: string; crv?: string }; sha256: string }[];
  };

  it.each(cases)('thumbprint of $ref', ({ jwk, sha256 }) => {
    const alg = jwk.kty === 'RSA' ? 'RS256' : jwk.crv === 'Ed25519' ? 'Ed25519' : 'ES256';
    expect(jwkThumbprint(parsePublicJwk({ ...jwk, alg }))).toBe(sha256);
  });

  it('refuses a point that is not on the curve', () => {
    const { jwk } = testKey();
    if (jwk.kty !== 'EC') throw new Error('EC');
    expect(codeOf(() => publicKeyObject({ ...jwk, y: jwk.x }))).toBe('malformed_request');
  });

  it('refuses an RSA key of 1024 bits', () => {
    const n = Buffer.alloc(128, 0xff).toString('base64url');
    expect(codeOf(() => publicKeyObject({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256' }))).toBe(
      'malformed_request',
    );
  });

  it('takes a PSS signature only with a salt of 32 octets, and PKCS#1 only as PKCS#1', () => {
    const pss = testKey('PS256');
    const message = Buffer.from('m');
    const signature = signOctets(pss, message);
    expect(verifySignature(pss.jwk, message, signature)).toBe(true);
    expect(verifySignature(parsePublicJwk({ ...pss.jwk, alg: 'RS256' }), message, signature)).toBe(false);
  });
});
