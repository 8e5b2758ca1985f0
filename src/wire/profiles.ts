/**
 * What an HTTP message signature of each profile covers (DECISIONS 19), in one versioned table: the daemon
 * signs by it and `verify` demands it. AAuth's wire names move between drafts; a change is a new version.
 */

import type { TargetUri } from './target-uri.ts';

/** Field that carries a delegation chain; covered whenever present. */
export const DELEGATION_CHAIN_HEADER = 'agentkeyd-delegation';

/** Field that tells what the caller says the request is for: a dictionary of strings, its word and no fact. */
export const INTENT_HEADER = 'agentkeyd-intent';

export interface Profile {
  readonly version: number;
  /** Dictionary key in Signature-Input and Signature. */
  readonly label: string;
  /** Always covered, in this order. */
  readonly components: readonly string[];
  /** Signature parameters in the order they are written; `expires` and `tag` as well where they are used. */
  readonly parameters: readonly string[];
  /** Parameters without which a signature of this profile is refused. */
  readonly requiredParameters: readonly string[];
  /** Parameters that a verifier takes; with any other a signature is refused. */
  readonly knownParameters: readonly string[];
  /** The one value of `tag`, where the profile has one. */
  readonly tag?: string;
}

const KNOWN_PARAMETERS = ['created', 'expires', 'nonce', 'keyid', 'alg', 'tag'];
const WIMSE_PARAMETERS = ['created', 'expires', 'nonce', 'tag', 'wimse-aud'];

const TABLE = {
  rfc9421: {
    version: 1,
    label: 'sig',
    components: ['@method', '@target-uri'],
    parameters: ['created', 'expires', 'nonce', 'keyid', 'tag'],
    requiredParameters: ['created', 'nonce', 'keyid'],
    knownParameters: KNOWN_PARAMETERS,
  },
  // draft AAuth -11 with Signature-Key: no alg, no keyid; the key is the cnf of the token in Signature-Key.
  aauth: {
    version: 1,
    label: 'sig',
    components: ['@method', '@authority', '@path', '@target-uri', 'signature-key'],
    parameters: ['created', 'expires', 'nonce', 'tag'],
    requiredParameters: ['created', 'nonce'],
    knownParameters: KNOWN_PARAMETERS,
  },
  // draft-ietf-wimse-http-signature-06: the key is the cnf of the WIT beside it, keyid and alg are forbidden, and
  // wimse-aud names the target. Its wimse-sign-response asks for signed responses, which nobody here makes.
  wimse: {
    version: 1,
    label: 'wimse',
    components: ['@method', '@request-target'],
    parameters: WIMSE_PARAMETERS,
    requiredParameters: WIMSE_PARAMETERS,
    knownParameters: WIMSE_PARAMETERS,
    tag: 'wimse-workload-to-workload',
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof TABLE;

export const PROFILE_NAMES = Object.keys(TABLE) as readonly ProfileName[];

/** Fields that every profile covers whenever they are in the request (S7). */
export const COVERED_WHEN_PRESENT: readonly string[] = [
  'content-type',
  'content-encoding',
  'authorization',
  'idempotency-key',
  'workload-identity-token',
  'txn-token',
  DELEGATION_CHAIN_HEADER,
  INTENT_HEADER,
];

export function isProfileName(text: string): text is ProfileName {
  return Object.hasOwn(TABLE, text);
}

export function profileEntry(name: ProfileName): Profile {
  return TABLE[name];
}

/** `wimse-aud` of a request, and `aud` of a Workload Proof Token: its target URI without the query. */
export function wimseAudience({ origin, path }: TargetUri): string {
  return origin + path;
}

/**
 * The names of the components that a signature of this profile must cover, in the order the daemon writes
 * them: the profile's own, `content-digest` where there is content, and fields covered whenever present.
 * @param fieldNames lower-case names of the request's fields
 */
export function requiredComponents(
  name: ProfileName,
  fieldNames: ReadonlySet<string>,
  hasContent: boolean,
): readonly string[] {
  return [
    ...TABLE[name].components,
    ...(hasContent ? ['content-digest'] : []),
    ...COVERED_WHEN_PRESENT.filter((field) => fieldNames.has(field)),
  ];
}
