import { describe, expect, it } from 'vitest';
import { MAX_CHAIN_TOKENS } from '../../../src/delegation/claims.ts';
import { canonicalJson } from '../../../src/wire/jcs.ts';
import { atStep, CHAIN_NOW, signText } from '../../support/delegation-chain.ts';
import {
  grantKey,
  keys,
  stranger,
  LINK,
  chainOf,
  refusal,
  refusalOfTerms,
  replaced,
  partsOf,
} from '../../support/chain-rules.ts';

const payloadText = (token: string | undefined): string =>
  Buffer.from(partsOf(token)[1], 'base64url').toString();

describe('step 0: form', () => {
  it('refuses no token, and one more than a chain has', () => {
    expect(refusal([])).toMatch(atStep(0));
    expect(refusalOfTerms(...Array.from({ length: MAX_CHAIN_TOKENS + 1 }, () => ({})))).toMatch(atStep(0));
    expect(refusal(chainOf({}, LINK, LINK).tokens, { maxTokens: 2 })).toMatch(atStep(0));
  });

  it('refuses a token cut at any offset, and any octet after one', () => {
    const { tokens } = chainOf({}, LINK);
    for (const index of [0, 1]) {
      const whole = tokens[index] ?? '';
      for (let length = 0; length < whole.length; length += 1) {
        const cut = refusal(replaced(tokens, index, whole.slice(0, length)));
        // The last characters of a signature are a shorter signature: well-formed, and by nobody.
        expect(cut, `cut at ${length}`).toMatch(
          /^(verification_failed|signature_invalid): delegation, step [01]: /,
        );
        if (length <= whole.lastIndexOf('.') + 1) expect(cut).toMatch(atStep(0));
      }
      for (const extra of ['A', '.', '=', ' ', '\n', '~', '\0', '.AAAA']) {
        expect(refusal(replaced(tokens, index, whole + extra)), JSON.stringify(extra)).toMatch(
          /^(verification_failed|signature_invalid): delegation, step [01]: /,
        );
        expect(refusal(replaced(tokens, index, extra + whole))).toMatch(atStep(0));
      }
    }
  });

  it('refuses a token longer than tokens are', () => {
    const constraints = Array.from({ length: 60 }, (_, index) => ({
      key: `body:/member${index}`,
      equals: 'x'.repeat(120),
    }));
    expect(refusalOfTerms({ constraints })).toMatch(atStep(0));
  });

  it.each<readonly [string, (payload: string) => string]>([
    ['white space', (payload) => payload.replace('{', '{ ')],
    ['a line break at its end', (payload) => `${payload}\n`],
    [
      'members in another order',
      (payload) => `{"sub":"user:alice",${payload.slice(1).replace('"sub":"user:alice",', '')}`,
    ],
    ['an escape that is not needed', (payload) => payload.replace('user:alice', 'user:\\u0061lice')],
    ['a number of another spelling', (payload) => payload.replace('"del_depth":0', '"del_depth":0.0')],
    ['a number in exponent form', (payload) => payload.replace('"del_max_depth":9', '"del_max_depth":9e0')],
    ['a member twice', (payload) => payload.replace('"del_depth":0', '"del_depth":0,"del_depth":0')],
    [
      'a nested member twice',
      (payload) => payload.replace('"constraints":[]', '"constraints":[],"constraints":[]'),
    ],
    ['an integer beyond 2^53', (payload) => payload.replace(/"exp":\d+/, '"exp":9007199254740993')],
    ['a byte order mark', (payload) => `\uFEFF${payload}`],
    ['an array', (payload) => `[${payload}]`],
    ['nothing', () => ''],
  ])('refuses claims with %s, though they are signed', (_, change) => {
    const payload = payloadText(chainOf({}).tokens[0]);
    expect(refusal([signText(grantKey, payload)])).toBe('accepted');
    expect(change(payload)).not.toBe(payload);
    expect(refusal([signText(grantKey, change(payload))])).toMatch(atStep(0));
  });

  it('refuses a header that is not canonical, has a member twice, more or less', () => {
    const payload = payloadText(chainOf({}).tokens[0]);
    const header = canonicalJson({ alg: 'ES256', kid: grantKey.thumbprint, typ: 'agentkey-delegation+jwt' });
    expect(refusal([signText(grantKey, payload, header)])).toBe('accepted');
    for (const other of [
      header.replace('{', '{ '),
      header.replace('"alg":"ES256"', '"alg":"ES256","alg":"ES256"'),
      header.replace('}', ',"jwk":{}}'),
      header.replace('}', ',"x5c":[]}'),
      header.replace('}', ',"crit":["b64"]}'),
      header.replace(`"kid":"${grantKey.thumbprint}",`, ''),
      header.replace('"alg":"ES256",', ''),
      header.replace('"alg":"ES256"', '"alg":null'),
    ]) {
      expect(other).not.toBe(header);
      expect(refusal([signText(grantKey, payload, other)]), other).toMatch(atStep(0));
    }
  });

  it('S1: refuses every other type, however like it', () => {
    for (const typ of [
      'at+jwt',
      'JWT',
      'agentkey-subkey+jwt',
      'Agentkey-Delegation+JWT',
      'application/agentkey-delegation+jwt',
      undefined,
    ]) {
      expect(refusalOfTerms({ header: { typ } }), String(typ)).toMatch(atStep(0));
    }
  });

  it.each<readonly [string, Readonly<Record<string, unknown>>]>([
    ['an unknown member', { act: { sub: 'x' } }],
    ['nbf', { nbf: CHAIN_NOW }],
    ['no sub', { sub: undefined }],
    ['no aud', { aud: undefined }],
    ['an empty aud', { aud: [] }],
    ['an aud that is a string', { aud: 'https://rs.example' }],
    ['an aud that is no origin', { aud: ['https://rs.example/path'] }],
    ['no jti', { jti: undefined }],
    ['a jti that is no UUID', { jti: 'x' }],
    ['no exp', { exp: undefined }],
    ['a fractional exp', { exp: CHAIN_NOW + 0.5 }],
    ['no cnf', { cnf: undefined }],
    ['no approval', { approval: undefined }],
    ['an approval of no kind', { approval: { kind: 'email' } }],
    ['a passkey approval without its hash', { approval: { kind: 'passkey' } }],
    ['a par_hash in DT₀', { par_hash: 'A'.repeat(43) }],
    ['no detail', { authorization_details: [] }],
    [
      'two details',
      {
        authorization_details: ['a', 'b'].map((scope) => ({
          type: 'agent_delegation',
          scopes: [scope],
          constraints: [],
        })),
      },
    ],
    [
      'a detail of another type',
      { authorization_details: [{ type: 'payment', scopes: [], constraints: [] }] },
    ],
    [
      'a detail with an unknown member',
      { authorization_details: [{ type: 'agent_delegation', scopes: [], constraints: [], actions: ['*'] }] },
    ],
    ['a negative depth', { del_depth: -1 }],
    ['a status that is no list', { status: { revoked: false } }],
    ['a status list over http', { status: { status_list: { idx: 1, uri: 'http://issuer.example/s' } } }],
  ])('refuses %s', (_, claims) => {
    expect(refusalOfTerms({ claims })).toMatch(atStep(0));
  });

  it('refuses a link without par_hash, and one with an approval', () => {
    expect(refusalOfTerms({}, { claims: { par_hash: undefined } })).toMatch(atStep(0));
    expect(refusalOfTerms({}, { claims: { approval: { kind: 'development' } } })).toMatch(atStep(0));
  });

  it('refuses a cnf whose jkt is of another key, and one that says more than the key', () => {
    const [jwk] = keys.map(({ jwk: own }) => own);
    const jkt = keys[0]?.thumbprint;
    expect(refusalOfTerms({ claims: { cnf: { jwk, jkt } } })).toBe('accepted');
    for (const cnf of [
      { jwk, jkt: stranger.thumbprint },
      { jkt },
      { jwk },
      { jwk: { ...jwk, kid: 'x' }, jkt },
      { jwk: { ...jwk, use: 'sig' }, jkt },
      { jwk: { ...jwk, d: 'A'.repeat(43) }, jkt },
      { jwk: { ...jwk, alg: undefined }, jkt },
      { jwk: { kty: 'oct', k: 'AAAA', alg: 'HS256' }, jkt },
      { jwk, jkt, x5t: 'x' },
    ]) {
      expect(refusalOfTerms({ claims: { cnf: JSON.parse(JSON.stringify(cnf)) as unknown } })).toMatch(
        atStep(0),
      );
    }
  });
});
