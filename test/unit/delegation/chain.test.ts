import { describe, expect, it } from 'vitest';
import { verifyChain } from '../../../src/delegation/chain.ts';
import { parentHash } from '../../../src/delegation/parent-hash.ts';
import { parseDelegationToken, MAX_CHAIN_TOKENS } from '../../../src/delegation/claims.ts';
import { jwkThumbprint, thumbprintUri } from '../../../src/wire/jwk.ts';
import {
  atStep,
  CHAIN_NOW,
  clientIdAt,
  signedChain,
  type TokenTerms,
} from '../../support/delegation-chain.ts';
import {
  grantKey,
  keys,
  stranger,
  rules,
  LINK,
  chainOf,
  refusal,
  refusalOfTerms,
  replaced,
  partsOf,
} from '../../support/chain-rules.ts';

describe('a good chain', () => {
  it('is a grant alone', () => {
    const { tokens, keys: holders } = chainOf({});
    const chain = verifyChain(tokens, rules);
    expect(chain.leaf).toBe(chain.root);
    expect(chain.leaf.claims.cnf.jkt).toBe(holders[0]?.thumbprint);
    expect(chain).toMatchObject({ principal: 'user:alice', expiresAtSeconds: CHAIN_NOW + 3000 });
  });

  it('is a grant and five links, by keys of every algorithm', () => {
    const chain = verifyChain(
      chainOf({}, LINK, LINK, LINK, LINK, { exp: CHAIN_NOW + 60, scopes: ['a.b'] }).tokens,
      rules,
    );
    expect(chain.tokens.map(({ claims }) => claims.del_depth)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(chain.leaf.scopes).toEqual(['a.b']);
    expect(chain.expiresAtSeconds).toBe(CHAIN_NOW + 60);
  });

  it('may be as long as chains get, and under one of several pinned keys', () => {
    const terms = Array.from({ length: MAX_CHAIN_TOKENS }, () => ({}));
    expect(refusal(chainOf(...terms).tokens, { grantKeys: [stranger.jwk, grantKey.jwk] })).toBe('accepted');
  });
});

describe('step 1: signatures', () => {
  it('refuses DT₀ by a key that is not pinned, and a pinned key’s name over another’s signature', () => {
    expect(refusalOfTerms({ signer: stranger })).toMatch(atStep(1));
    expect(refusalOfTerms({ signer: stranger, header: { kid: grantKey.thumbprint } })).toMatch(
      atStep(1, 'signature_invalid'),
    );
    expect(refusal(chainOf({}).tokens, { grantKeys: [] })).toMatch(atStep(1));
  });

  it('refuses DT₀ of another issuer, trust domain, or without a passkey where that is asked', () => {
    expect(refusal(chainOf({}).tokens, { issuer: 'https://other.example' })).toMatch(atStep(1));
    expect(refusal(chainOf({}).tokens, { trustDomain: 'other.example' })).toMatch(atStep(1));
    expect(refusal(chainOf({}).tokens, { allowDevelopment: false })).toMatch(atStep(1));
    const approval = { kind: 'passkey', hash: 'A'.repeat(43) };
    expect(refusal(chainOf({ claims: { approval } }).tokens, { allowDevelopment: false })).toBe('accepted');
  });

  it('refuses a link by any other key than the one above it: stranger, grant key, grandparent, itself', () => {
    for (const signer of [stranger, grantKey, keys[0], keys[2]]) {
      if (signer === undefined) throw new Error('no key');
      expect(refusalOfTerms({}, LINK, { signer })).toMatch(atStep(1));
      // As before, but it says of itself that it is by the right one.
      const kid = keys[1]?.thumbprint;
      const alg = keys[1]?.jwk.alg;
      expect(refusalOfTerms({}, LINK, { signer, header: { kid, alg } })).toMatch(
        atStep(1, 'signature_invalid'),
      );
    }
  });

  it('refuses a link that says it is issued by another key than the one above it', () => {
    for (const iss of [thumbprintUri(stranger.thumbprint), 'https://issuer.example', keys[0]?.thumbprint]) {
      expect(refusalOfTerms({}, { claims: { iss } })).toMatch(atStep(1));
    }
  });

  it('refuses every algorithm but the key’s own', () => {
    for (const alg of ['none', 'HS256', 'ES384', 'RS256', 'EdDSA', 'Ed25519', 'es256', 'ES256 ']) {
      expect(refusalOfTerms({ header: { alg } }), alg).toMatch(atStep(1));
      expect(refusalOfTerms({}, { header: { alg } }), alg).toMatch(atStep(1));
    }
  });

  it('refuses any changed octet of what is signed', () => {
    const { tokens } = chainOf({}, { scopes: ['a.b'] });
    const [header, payload, signature] = partsOf(tokens[1]);
    const wider = Buffer.from(Buffer.from(payload, 'base64url').toString().replace('a.b', 'a.c'));
    const forged = `${header}.${wider.toString('base64url')}.${signature}`;
    expect(refusal(replaced(tokens, 1, forged))).toMatch(atStep(1, 'signature_invalid'));
    const octets = Buffer.from(signature, 'base64url');
    for (let offset = 0; offset < octets.length; offset += 1) {
      const flipped = Buffer.from(octets);
      flipped[offset] = (flipped[offset] ?? 0) ^ 1;
      const token = `${header}.${payload}.${flipped.toString('base64url')}`;
      expect(refusal(replaced(tokens, 1, token))).toMatch(atStep(1, 'signature_invalid'));
    }
  });

  it('refuses a confirmed key that is not on its curve', () => {
    const off = { kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43), alg: 'ES256' } as const;
    const jkt = jwkThumbprint(off);
    const claims = { iss: thumbprintUri(jkt) };
    const chain = chainOf({ claims: { cnf: { jwk: off, jkt } } }, { claims, header: { kid: jkt } });
    expect(refusal(chain.tokens)).toMatch(atStep(1));
  });
});

describe('step 2: each link belongs to its parent', () => {
  it('refuses a par_hash of any other token', () => {
    const hashes = chainOf({}, LINK).tokens.map((token, index) =>
      parentHash(parseDelegationToken(token, index === 0)),
    );
    for (const hash of [...hashes, 'A'.repeat(43)]) {
      expect(refusalOfTerms({}, LINK, { claims: { par_hash: hash } })).toMatch(atStep(2));
    }
  });

  it('refuses a link spliced under a sibling of its parent that has the same key', () => {
    // Both DT₀ are good and for the same key; what the second gives, the link was never given.
    const narrow = chainOf({ scopes: ['read'] }, { scopes: ['read'] });
    const wide = chainOf({ scopes: ['*'] }, { scopes: ['*'] });
    expect(refusal([narrow.tokens[0] ?? '', wide.tokens[1] ?? ''])).toMatch(atStep(2));
    expect(refusal([wide.tokens[0] ?? '', narrow.tokens[1] ?? ''])).toMatch(atStep(2));
  });

  it('refuses a link of a sibling chain with other keys, tokens out of order, left out or repeated', () => {
    const one = chainOf({}, LINK, LINK).tokens;
    const other = signedChain([{}, {}, {}], { grantKey }).tokens;
    const pick = (...places: readonly (readonly [readonly string[], number])[]): readonly string[] =>
      places.map(([tokens, index]) => tokens[index] ?? '');
    expect(refusal(pick([one, 0], [other, 1]))).toMatch(atStep(1));
    expect(refusal(pick([one, 0], [one, 1], [other, 2]))).toMatch(atStep(1));
    expect(refusal(pick([one, 0], [one, 2]))).toMatch(atStep(1));
    expect(refusal(pick([one, 0], [one, 2], [one, 1]))).toMatch(atStep(1));
    expect(refusal(pick([one, 0], [one, 1], [one, 1]))).toMatch(atStep(1));
    expect(refusal(pick([one, 1]))).toMatch(atStep(0));
    expect(refusal(pick([one, 0], [one, 0]))).toMatch(atStep(0));
    expect(refusal(one.slice(0, 2))).toBe('accepted');
  });
});

describe('step 3: depth, principal, name', () => {
  it('refuses a depth that is not the place in the chain', () => {
    expect(refusalOfTerms({ claims: { del_depth: 1 } })).toMatch(atStep(3));
    expect(refusalOfTerms({}, { claims: { del_depth: 0 } })).toMatch(atStep(3));
    expect(refusalOfTerms({}, { claims: { del_depth: 2 } })).toMatch(atStep(3));
  });

  it('refuses a chain deeper than was granted, by DT₀ or by a link', () => {
    expect(refusalOfTerms({ maxDepth: 1 }, { maxDepth: 1 })).toBe('accepted');
    expect(refusalOfTerms({ maxDepth: 0 }, { maxDepth: 0 })).toMatch(atStep(3));
    expect(refusalOfTerms({ maxDepth: 1 }, { maxDepth: 1 }, { maxDepth: 1 })).toMatch(atStep(3));
    expect(refusalOfTerms({}, { maxDepth: 1 }, { maxDepth: 1 })).toMatch(atStep(3));
    expect(refusalOfTerms({}, { maxDepth: 0 }, { maxDepth: 0 })).toMatch(atStep(3));
  });

  it('refuses a greatest depth that grows', () => {
    expect(refusalOfTerms({ maxDepth: 3 }, { maxDepth: 4 })).toMatch(atStep(3));
  });

  it('refuses another principal', () => {
    expect(refusalOfTerms({}, { claims: { sub: 'user:bob' } })).toMatch(atStep(3));
  });

  it('refuses a name that is not directly below its parent’s', () => {
    for (const clientId of [
      clientIdAt(0),
      clientIdAt(2),
      'spiffe://td.example/agent/host2/a0/a1',
      'spiffe://other.example/agent/host1/a0/a1',
      'spiffe://td.example/agent/host1/b/a1',
      'spiffe://td.example/agent/host1/a0x/a1',
      'spiffe://td.example/agent/host1/a0+a1',
      'spiffe://td.example/agent/host1/a0/a1/',
      'spiffe://td.example/agent/host1//a0/a1',
      'spiffe://td.example/workload/host1/a0/a1',
    ]) {
      expect(refusalOfTerms({}, { claims: { client_id: clientId } }), clientId).toMatch(atStep(3));
    }
  });
});

describe('step 4: scopes and constraints only narrow', () => {
  it('refuses a scope that the parent has not', () => {
    expect(refusalOfTerms({ scopes: ['a.*'] }, { scopes: ['a.b', 'a.c.*'] })).toBe('accepted');
    for (const scope of ['a', 'b', '*', 'ab.c', 'a-b']) {
      expect(refusalOfTerms({ scopes: ['a.*'] }, { scopes: ['a.b', scope] }), scope).toMatch(atStep(4));
    }
    expect(refusalOfTerms({ scopes: [] }, { scopes: ['a'] })).toMatch(atStep(4));
  });

  it('refuses a constraint that is left out, wider, or of another type', () => {
    const parent: TokenTerms = { constraints: [{ key: 'body:/amount', max: '3000.00' }] };
    const child = (constraints: TokenTerms['constraints']): string =>
      refusalOfTerms(parent, { constraints: constraints ?? [] });
    expect(child([{ key: 'body:/amount', max: '3000' }])).toBe('accepted');
    expect(
      child([
        { key: 'body:/amount', max: '2999.99' },
        { key: 'path', prefix: '/a' },
      ]),
    ).toBe('accepted');
    expect(child([])).toMatch(atStep(4));
    expect(child([{ key: 'body:/amount', max: '3000.01' }])).toMatch(atStep(4));
    expect(child([{ key: 'body:/amount', equals: 1 }])).toMatch(atStep(4));
    expect(child([{ key: 'body:/amounts', max: '1' }])).toMatch(atStep(4));
  });

  it('refuses at the third link what the first was never given', () => {
    const bound: TokenTerms = { constraints: [{ key: 'calls', max_lifetime: 5 }] };
    expect(refusalOfTerms({}, bound, bound, {})).toMatch(atStep(4));
  });
});

describe('step 5: audience and time', () => {
  it('refuses an audience that the parent has not', () => {
    const parent: TokenTerms = { aud: ['https://a.example', 'https://b.example'] };
    expect(refusalOfTerms(parent, { aud: ['https://b.example'] })).toBe('accepted');
    for (const aud of ['*', 'https://c.example', 'http://a.example', 'https://a.example:8443']) {
      expect(refusalOfTerms(parent, { aud: [aud] }), aud).toMatch(atStep(5));
    }
  });

  it('refuses a link that ends after its parent or was issued before it', () => {
    expect(refusalOfTerms({}, { exp: CHAIN_NOW + 3001 })).toMatch(atStep(5));
    expect(refusalOfTerms({}, { iat: CHAIN_NOW - 11 })).toMatch(atStep(5));
  });

  it('refuses what has expired or is of the future, beyond the skew of clocks', () => {
    const { tokens } = chainOf({}, { exp: CHAIN_NOW + 60 });
    expect(refusal(tokens, { nowSeconds: CHAIN_NOW + 64 })).toBe('accepted');
    expect(refusal(tokens, { nowSeconds: CHAIN_NOW + 65 })).toMatch(atStep(5));
    expect(refusal(tokens, { nowSeconds: CHAIN_NOW - 15 })).toBe('accepted');
    expect(refusal(tokens, { nowSeconds: CHAIN_NOW - 16 })).toMatch(atStep(5));
  });

  it('S18: refuses a link that lives longer than an hour, a grant longer than thirty days, and no life', () => {
    const long: TokenTerms = { iat: CHAIN_NOW - 10, exp: CHAIN_NOW - 10 + 30 * 86_400 };
    expect(refusalOfTerms(long, { exp: CHAIN_NOW + 3590 })).toBe('accepted');
    expect(refusalOfTerms(long, { exp: CHAIN_NOW + 3591 })).toMatch(atStep(5));
    expect(refusalOfTerms({ ...long, exp: CHAIN_NOW - 9 + 30 * 86_400 })).toMatch(atStep(5));
    expect(refusalOfTerms({ iat: CHAIN_NOW, exp: CHAIN_NOW })).toMatch(atStep(5));
  });
});

describe('the order', () => {
  it('is that of the steps: the first that fails decides, wherever in the chain it fails', () => {
    // Each of these breaks one step more than the next, at a token nearer to the root.
    const faults: readonly TokenTerms[] = [
      { claims: { act: 1 } },
      { signer: stranger },
      { claims: { par_hash: 'A'.repeat(43) } },
      { claims: { sub: 'user:bob' } },
      { scopes: ['b'] },
      { exp: CHAIN_NOW + 3001 },
    ];
    for (let step = 0; step < faults.length; step += 1) {
      const later = faults.slice(step).reverse();
      expect(
        refusalOfTerms({ scopes: ['a'] }, ...later.map((fault) => ({ scopes: ['a'], ...fault }))),
      ).toMatch(atStep(step));
    }
  });

  it('names no secret and quotes no token', () => {
    const { tokens } = chainOf({}, { scopes: ['*'], signer: stranger });
    const message = refusal(tokens);
    for (const token of tokens) for (const part of partsOf(token)) expect(message).not.toContain(part);
  });
});
