/** Chains of delegation as issuer and agents sign them, with keys in this process; any member may be made wrong. */
import { randomUUID } from 'node:crypto';
import type { ChainRoot } from '../../src/delegation/chain.ts';
import { DELEGATION_DETAIL, DELEGATION_TYP, type DelegationClaims } from '../../src/delegation/claims.ts';
import type { Constraint } from '../../src/delegation/constraint.ts';
import { parentHash } from '../../src/delegation/parent-hash.ts';
import { thumbprintUri } from '../../src/wire/jwk.ts';
import { joinJws, jwsSigningInput } from '../../src/wire/jws.ts';
import { signOctets, testKey, type TestKey } from './signed-request.ts';

export const CHAIN_NOW = 1_800_000_000;
export const CHAIN_ISSUER = 'https://issuer.example';
export const TRUST_DOMAIN = 'td.example';
export const PRINCIPAL = 'user:alice';

/** What a token of a chain says beside who signs it. */
export interface TokenTerms {
  readonly scopes?: readonly string[];
  readonly aud?: readonly string[];
  readonly constraints?: readonly Constraint[];
  readonly maxDepth?: number;
  readonly iat?: number;
  readonly exp?: number;
  /** Members to set, or with undefined to leave out. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  /** Who signs, where it is not who should. */
  readonly signer?: TestKey;
}

export interface TestChain {
  /** Compact tokens, DT₀ first. */
  readonly tokens: readonly string[];
  readonly claims: readonly DelegationClaims[];
  /** The holder of each token. */
  readonly keys: readonly TestKey[];
  readonly leafKey: TestKey;
}

export interface ChainOptions {
  readonly grantKey: TestKey;
  /** One for each token, so that many chains can share keys. */
  readonly keys?: readonly TestKey[];
}

/** A chain of `terms.length` tokens; each says what its terms do, and else what is widest. */
export function signedChain(terms: readonly TokenTerms[], { grantKey, keys = [] }: ChainOptions): TestChain {
  const tokens: string[] = [];
  const claims: DelegationClaims[] = [];
  const holders: TestKey[] = [];
  for (const [depth, wanted] of terms.entries()) {
    const holder = keys[depth] ?? testKey();
    const above = holders[depth - 1] ?? grantKey;
    const said = tokenClaims(wanted, depth, holder, above, tokens[depth - 1]);
    tokens.push(signToken(wanted.signer ?? above, said, wanted.header));
    claims.push(said as unknown as DelegationClaims);
    holders.push(holder);
  }
  const leafKey = holders.at(-1);
  if (leafKey === undefined) throw new Error('a chain has a token');
  return { tokens, claims, keys: holders, leafKey };
}

export function signToken(
  signer: TestKey,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>> = {},
): string {
  const protectedHeader = defined({
    alg: signer.jwk.alg,
    kid: signer.thumbprint,
    typ: DELEGATION_TYP,
    ...header,
  });
  const input = jwsSigningInput(protectedHeader, claims);
  return joinJws(input, signOctets(signer, Buffer.from(input)));
}

/** Any JSON text as the payload of a token that is signed as it should be. */
export function signText(signer: TestKey, payload: string, header?: string): string {
  const first =
    header ?? JSON.stringify({ alg: signer.jwk.alg, kid: signer.thumbprint, typ: DELEGATION_TYP });
  const input = `${Buffer.from(first).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  return joinJws(input, signOctets(signer, Buffer.from(input)));
}

export function chainRoot(grantKey: TestKey, more: Partial<ChainRoot> = {}): ChainRoot {
  return {
    grantKeys: [grantKey.jwk],
    issuer: CHAIN_ISSUER,
    trustDomain: TRUST_DOMAIN,
    allowDevelopment: true,
    ...more,
  };
}

/** `spiffe://td.example/agent/host1/a0/a1/...`: the agent at this depth. */
export function clientIdAt(depth: number): string {
  const segments = Array.from({ length: depth + 1 }, (_, index) => `a${index}`);
  return `spiffe://${TRUST_DOMAIN}/agent/host1/${segments.join('/')}`;
}

function tokenClaims(
  terms: TokenTerms,
  depth: number,
  holder: TestKey,
  above: TestKey,
  parent: string | undefined,
): Readonly<Record<string, unknown>> {
  return defined({
    iss: parent === undefined ? CHAIN_ISSUER : thumbprintUri(above.thumbprint),
    sub: PRINCIPAL,
    client_id: clientIdAt(depth),
    aud: terms.aud ?? ['*'],
    iat: terms.iat ?? CHAIN_NOW - 10,
    exp: terms.exp ?? CHAIN_NOW + 3000,
    jti: randomUUID(),
    cnf: { jwk: holder.jwk, jkt: holder.thumbprint },
    del_depth: depth,
    del_max_depth: terms.maxDepth ?? 9,
    authorization_details: [
      { type: DELEGATION_DETAIL, scopes: terms.scopes ?? ['*'], constraints: terms.constraints ?? [] },
    ],
    ...(parent === undefined
      ? { approval: { kind: 'development' } }
      : { par_hash: parentHash({ signingInput: parent.slice(0, parent.lastIndexOf('.')) }) }),
    ...terms.claims,
  });
}

function defined(members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

/** The code and the step that a refusal of a chain names. */
export function atStep(step: number, code = 'verification_failed'): RegExp {
  return new RegExp(`^${code}: delegation, step ${step}: `);
}
