/** Agents with keys in this process, and requests as the daemon signs them: for tests of whoever verifies. */
import { constants, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { algorithmEntry, type Algorithm } from '../../src/wire/algorithms.ts';
import type { AssuranceLevel } from '../../src/wire/assurance.ts';
import { contentDigest } from '../../src/wire/content-digest.ts';
import {
  AGENT_TOKEN_DWK,
  AGENT_TOKEN_TYP,
  ATTESTATION_CLAIM,
  WIT_TYP,
} from '../../src/wire/credential-claims.ts';
import type { FieldLine } from '../../src/wire/field-lines.ts';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
} from '../../src/wire/http-signature.ts';
import { joinJws, jwsSigningInput } from '../../src/wire/jws.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../../src/wire/jwk.ts';
import { profileEntry, requiredComponents, type ProfileName } from '../../src/wire/profiles.ts';
import type { SfParameters } from '../../src/wire/structured-fields.ts';
import { parseTargetUri } from '../../src/wire/target-uri.ts';
import type { ReceivedRequest } from '../../src/verify/received-request.ts';

export interface TestKey {
  readonly privateKey: KeyObject;
  readonly jwk: PublicJwk;
  readonly thumbprint: string;
}

export function testKey(alg: Algorithm = 'ES256'): TestKey {
  const { privateKey, publicKey } =
    alg === 'Ed25519'
      ? generateKeyPairSync('ed25519')
      : alg === 'RS256' || alg === 'PS256'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ec', { namedCurve: alg === 'ES256' ? 'P-256' : 'P-384' });
  const jwk = parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg });
  return { privateKey, jwk, thumbprint: jwkThumbprint(jwk) };
}

/** A signature in JOSE form. */
export function signOctets({ privateKey, jwk }: TestKey, octets: Uint8Array): Uint8Array {
  const { hash, kty, rsaPadding } = algorithmEntry(jwk.alg);
  if (kty === 'EC') return sign(hash, octets, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  if (rsaPadding === 'pss') {
    return sign(hash, octets, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
  }
  return sign(hash, octets, privateKey);
}

/** A JWT; claims that are undefined, at any depth, are left out. */
export function signJwt(
  key: TestKey,
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
): string {
  const written = JSON.parse(JSON.stringify(claims)) as Readonly<Record<string, unknown>>;
  const input = jwsSigningInput({ alg: key.jwk.alg, ...header }, written);
  return joinJws(input, signOctets(key, Buffer.from(input)));
}

interface TokenOptions {
  readonly nowSeconds: number;
  readonly level?: AssuranceLevel;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

export function agentToken(issuer: TestKey, agent: TestKey, options: TokenOptions): string {
  return signJwt(
    issuer,
    { typ: AGENT_TOKEN_TYP, kid: issuer.thumbprint, ...options.header },
    {
      iss: 'https://ap.example',
      dwk: AGENT_TOKEN_DWK,
      sub: 'aauth:host1.planner@ap.example',
      jti: randomBytes(12).toString('base64url'),
      iat: options.nowSeconds - 10,
      exp: options.nowSeconds + 3000,
      cnf: { jwk: agent.jwk },
      [ATTESTATION_CLAIM]: { level: options.level ?? 'hw-key' },
      ...options.claims,
    },
  );
}

export function wit(issuer: TestKey, agent: TestKey, options: TokenOptions): string {
  return signJwt(
    issuer,
    { typ: WIT_TYP, kid: issuer.thumbprint, ...options.header },
    {
      iss: 'https://issuer.example',
      sub: 'spiffe://td.example/agent/host1/planner',
      jti: randomBytes(12).toString('base64url'),
      iat: options.nowSeconds - 10,
      exp: options.nowSeconds + 3000,
      cnf: { jwk: agent.jwk },
      [ATTESTATION_CLAIM]: { level: options.level ?? 'hw-key' },
      ...options.claims,
    },
  );
}

export interface SignOptions {
  readonly profile: ProfileName;
  readonly key: TestKey;
  readonly nowSeconds: number;
  readonly method?: string;
  readonly targetUri?: string;
  readonly headers?: readonly FieldLine[];
  readonly body?: Uint8Array;
  /** Component names left out, to be refused. */
  readonly drop?: readonly string[];
  readonly add?: readonly string[];
  /** Replace or (undefined) leave out signature parameters. */
  readonly parameters?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Another encoding of the signature, e.g. DER. */
  readonly encode?: (signature: Uint8Array) => Uint8Array;
}

/** A request as it reaches the server named by its target. */
export function signedRequest(options: SignOptions): ReceivedRequest {
  const { profile, key, body } = options;
  const target = parseTargetUri(options.targetUri ?? 'https://api.example/v1/pay?to=bob');
  const method = options.method ?? 'POST';
  const headers: FieldLine[] = [['Host', target.authority], ...(options.headers ?? [])];
  if (body !== undefined) headers.push(['Content-Digest', contentDigest(body)]);
  const names = new Set(headers.map(([name]) => name.toLowerCase()));
  const components = [...requiredComponents(profile, names, body !== undefined), ...(options.add ?? [])]
    .filter((name) => options.drop?.includes(name) !== true)
    .map((name) => component(name));
  const defaults: Record<string, string | number | boolean | undefined> = {
    created: options.nowSeconds,
    nonce: randomBytes(16).toString('base64url'),
    ...(profile === 'rfc9421' ? { keyid: key.thumbprint } : {}),
    ...options.parameters,
  };
  const parameters: SfParameters = Object.entries(defaults).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const base = signatureBase(components, parameters, { method, target, headers });
  const signature = (options.encode ?? ((octets) => octets))(signOctets(key, Buffer.from(base)));
  const { label } = profileEntry(profile);
  headers.push(['Signature-Input', signatureInputField(label, components, parameters)]);
  headers.push(['Signature', signatureField(label, signature)]);
  const url = target.query === undefined ? target.path : `${target.path}?${target.query}`;
  return { method, url, headers, body };
}

/** Signature-Key of scheme jwt. */
export function signatureKeyField(token: string, label = 'sig'): FieldLine {
  return ['Signature-Key', `${label}=jwt;jwt="${token}"`];
}

/** The request with one header line replaced, or removed. */
export function withHeader(
  request: ReceivedRequest,
  name: string,
  value: string | undefined,
): ReceivedRequest {
  const headers = request.headers.flatMap((line): FieldLine[] =>
    line[0].toLowerCase() === name.toLowerCase() ? (value === undefined ? [] : [[line[0], value]]) : [line],
  );
  return { ...request, headers };
}
