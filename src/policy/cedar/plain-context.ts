/** Context attributes that are values of their own. */
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { TargetUri } from '../../wire/target-uri.ts';
import type { DecisionFacts, JudgedParameters } from '../verdict.ts';
import { defined } from './attributes.ts';
import type { Reads } from './reads.ts';

const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;

function time(nowMs: number, instant: boolean): CedarValueJson {
  const now = new Date(nowMs);
  return {
    ...(instant ? { now: { __extn: { fn: 'datetime', arg: now.toISOString() } } } : {}),
    epochSeconds: Math.floor(nowMs / 1000),
    weekday: WEEKDAYS[now.getUTCDay()] ?? '',
    hour: now.getUTCHours(),
    minute: now.getUTCMinutes(),
  };
}

function attestation({ status, level, ageSeconds }: DecisionFacts['attestation']): CedarValueJson {
  return defined({ status, level, ageSeconds: ageSeconds === undefined ? undefined : whole(ageSeconds) });
}

function authority({ authority: chain, nowMs }: DecisionFacts): CedarValueJson | undefined {
  if (chain === undefined) return undefined;
  return {
    principal: chain.principal,
    grantId: chain.grantId,
    development: chain.development,
    depth: chain.depth,
    maxDepth: chain.maxDepth,
    chain: chain.links.map(({ agentName }) => agentName),
    scopes: [...chain.scopes],
    audiences: [...chain.audiences],
    expiresInSeconds: Math.floor((chain.expiresAtMs - nowMs) / 1000),
  };
}

export function targetOf(parameters: JudgedParameters): TargetUri | undefined {
  return 'target' in parameters ? parameters.target : undefined;
}

type Plain = (
  parameters: JudgedParameters,
  facts: DecisionFacts,
  reads?: Pick<Reads, 'instant'>,
) => CedarValueJson | undefined;

/** Context attributes without tags; undefined where the operation or the request has none. */
export const PLAIN: Readonly<Record<string, Plain | undefined>> = {
  time: (_, facts, reads) => time(facts.nowMs, reads?.instant !== false),
  attestation: (_, facts) => attestation(facts.attestation),
  usage: (_, { usage }) => ({
    firstUseOfOrigin: usage.firstUseOfOrigin,
    lastMinute: whole(usage.lastMinute),
    lastHour: whole(usage.lastHour),
    lastDay: whole(usage.lastDay),
  }),
  intent: (_, { intent }) => (intent === undefined ? undefined : defined({ ...intent })),
  authority: (_, facts) => authority(facts),
  profile: (it) => ('profile' in it ? it.profile : undefined),
  method: (it) => ('method' in it ? it.method : undefined),
  scheme: (it) => targetOf(it)?.scheme,
  host: (it) => targetOf(it)?.host,
  port: (it) => targetOf(it)?.port,
  origin: (it) => targetOf(it)?.origin,
  path: (it) => targetOf(it)?.path,
  mediaType: (it) => ('mediaType' in it ? it.mediaType : undefined),
  hasBody: (it) => ('content' in it ? it.content.kind !== 'none' : undefined),
  contentDigest: (it) =>
    'headers' in it ? it.headers.find(([name]) => name === 'content-digest')?.[1] : undefined,
  authorization: (it) =>
    'authorization' in it && it.authorization !== undefined ? { ...it.authorization } : undefined,
  components: (it) => ('components' in it ? [...it.components] : undefined),
  challenge: (it) => ('challenge' in it ? it.challenge : undefined),
  tag: (it) => ('tag' in it ? it.tag : undefined),
  accessTokenHash: (it) => ('accessTokenHash' in it ? it.accessTokenHash : undefined),
  typ: (it) => ('typ' in it ? it.typ : undefined),
  audience: (it) => ('audience' in it ? [...it.audience] : undefined),
  commonName: (it) => ('commonName' in it ? it.commonName : undefined),
  organization: (it) => ('organization' in it ? it.organization : undefined),
  uris: (it) => ('uris' in it ? [...it.uris] : undefined),
  dnsNames: (it) => ('dnsNames' in it ? [...it.dnsNames] : undefined),
  input: (it) => ('input' in it ? it.input : undefined),
  name: (it) => ('name' in it ? it.name : undefined),
  scopes: (it) => ('scopes' in it ? [...it.scopes] : undefined),
  audiences: (it) => ('audiences' in it ? [...it.audiences] : undefined),
  expiresInSeconds: (it) => ('expiresInSeconds' in it ? whole(it.expiresInSeconds) : undefined),
};

function whole(value: number): number {
  return Math.trunc(value);
}
