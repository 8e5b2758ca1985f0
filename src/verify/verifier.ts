/** The relying party's decision about one request, in short named steps; the first failure ends it. */
import { algorithmEntry } from '../wire/algorithms.ts';
import { meetsAssurance, type AssuranceLevel } from '../wire/assurance.ts';
import { verifyContentDigest } from '../wire/content-digest.ts';
import { combinedFieldValue, fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { componentIdentifier, signatureBase } from '../wire/http-signature.ts';
import { KeydError } from '../wire/problem.ts';
import { DELEGATION_CHAIN_HEADER, profileEntry, wimseAudience, type ProfileName } from '../wire/profiles.ts';
import { verifySignature } from '../wire/public-key.ts';
import { receivedSignature } from '../wire/signature-fields.ts';
import { parseSfDictionary } from '../wire/structured-fields-parse.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import { checkCoverage, checkParameters } from './coverage.ts';
import {
  checkDelegationRules,
  verifyDelegationChain,
  type DelegationClock,
  type DelegationRules,
  type VerifiedDelegation,
} from './delegation.ts';
import { spendNonce, type NonceStore } from './nonce-store.ts';
import type { ProvenRequest } from './possession.ts';
import { parseOrigins, parseProxies, rebuildTarget, type ReceivedRequest } from './received-request.ts';
import { signatureKey, signingAgent, type CredentialSources, type VerifiedAgent } from './signing-key.ts';

export interface VerifierOptions {
  /** The origins this server answers for, e.g. `['https://api.example']`; there is no default (S5). */
  readonly origins: readonly string[];
  readonly profiles: readonly ProfileName[];
  readonly credentials: CredentialSources;
  /** Shared by all replicas of the server (S4). */
  readonly nonceStore: NonceStore;
  /** Weakest level that is accepted; default `asserted`. */
  readonly minimumAssurance?: Exclude<AssuranceLevel, 'software'>;
  /** Accepts keys in software and test hardware as well; for sandboxes and demonstrations only. */
  readonly acceptSoftware?: true;
  /** Values of the `tag` parameter that are meant for this server; a signature with any other is refused. */
  readonly acceptedTags?: readonly string[];
  /** Verifies chains of delegation, and refuses requests that carry none. */
  readonly delegation?: VerifierDelegation;
  /** Oldest `created` that is accepted, seconds; default 60. */
  readonly maxAgeSeconds?: number;
  /** How far clocks may differ, seconds; default 5. */
  readonly clockSkewSeconds?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Proxies, as IP addresses or CIDR blocks, that set X-Forwarded-Host themselves; without them it is ignored. */
  readonly trustedProxies?: readonly string[];
}

export interface VerifierDelegation extends DelegationRules {
  /** Takes requests without a chain as well, of agents that act on their own account; `delegation` is then absent. */
  readonly acceptWithoutChain?: true;
}

export interface VerifiedRequest {
  readonly agent: VerifiedAgent;
  readonly profile: ProfileName;
  readonly method: string;
  /** The target under the configured origin: what was signed. */
  readonly target: TargetUri;
  /** Component identifiers as in Signature-Input, without their outer quotes where they have no parameters. */
  readonly coveredComponents: readonly string[];
  /** Unix time, seconds. */
  readonly created: number;
  readonly nonce: string;
  /** What its sender was given and by whom; only where chains are verified. */
  readonly delegation?: VerifiedDelegation;
}

export interface Verifier {
  /**
   * Verifies one request; each succeeds once.
   * @throws KeydError `verification_failed` and `invalid_header`, `invalid_target_uri`, `invalid_component`,
   *   `malformed_jws` for what is missing or malformed, `signature_invalid`, `appraisal_denied` where the key's
   *   assurance is too low, `replayed`, `replay_check_unavailable`; for its chain `authority_exceeded`,
   *   `delegation_revoked`, `status_unavailable`
   */
  readonly verify: (request: ReceivedRequest) => Promise<VerifiedRequest>;
}

/** Nonces outlive the window by this much, for replicas whose clocks are behind. */
const REPLICA_SKEW_SECONDS = 60;

/** A verifier from its configuration. @throws KeydError `configuration_invalid` */
export function createVerifier(options: VerifierOptions): Verifier {
  const origins = parseOrigins(options.origins);
  const proxies = options.trustedProxies === undefined ? undefined : parseProxies(options.trustedProxies);
  checkSources(options);
  const floor = options.acceptSoftware === true ? 'software' : (options.minimumAssurance ?? 'asserted');
  const clock = options.clock ?? Date.now;
  const maxAgeSeconds = positive(options.maxAgeSeconds ?? 60, 'maxAgeSeconds');
  const clockSkewSeconds = positive(options.clockSkewSeconds ?? 5, 'clockSkewSeconds');

  return {
    async verify(request) {
      const target = rebuildTarget(request, origins, proxies);
      const nowSeconds = Math.floor(clock() / 1000);
      const { profile, label } = profileOf(request, options.profiles);
      const signature = receivedSignature(request.headers, label);
      const time = { nowSeconds, maxAgeSeconds, clockSkewSeconds };
      const parameters = checkParameters(signature, profile, options.acceptedTags ?? [], time);
      checkCoverage(signature, profile, request);
      checkAudience(profile, parameters.audience, target);
      const { method, headers, body } = request;
      const base = signatureBase(signature.components, signature.parameters, { method, target, headers });

      const agent = await signingAgent(profile, headers, parameters.keyid, options.credentials, {
        nowSeconds,
        clockSkewSeconds,
      });
      checkAlgorithm(parameters.alg, profile, agent);
      if (!verifySignature(agent.publicJwk, Buffer.from(base), signature.signature)) {
        throw new KeydError('signature_invalid', 'the signature does not verify under the agent’s key');
      }
      if (fieldValues(headers, 'content-digest').length > 0) {
        verifyContentDigest(combinedFieldValue(headers, 'content-digest'), body ?? new Uint8Array());
      }
      checkAssurance(agent, floor);
      const coveredComponents = signature.components.map((component) =>
        component.parameters.length === 0 ? component.name : componentIdentifier(component),
      );
      const { thumbprint } = agent;
      const delegation = await verifiedDelegation(options.delegation, time, {
        method,
        target,
        headers,
        body,
        proof: { kind: 'http-message', thumbprint, coveredComponents, audience: parameters.audience },
        clientId: agent.credential === 'wit' ? agent.id : undefined,
      });
      // Last, so that only requests that would have been accepted use up a nonce.
      const keepUntil = parameters.created + maxAgeSeconds + clockSkewSeconds + REPLICA_SKEW_SECONDS;
      await spendNonce(options.nonceStore, thumbprint, parameters.nonce, keepUntil);
      return {
        agent,
        profile,
        method,
        target,
        coveredComponents,
        created: parameters.created,
        nonce: parameters.nonce,
        ...(delegation === undefined ? {} : { delegation }),
      };
    },
  };
}

function profileOf(
  request: ReceivedRequest,
  profiles: readonly ProfileName[],
): { readonly profile: ProfileName; readonly label: string } {
  if (profiles.includes('aauth') && fieldValues(request.headers, 'signature-key').length > 0) {
    return { profile: 'aauth', label: signatureKey(request.headers).label };
  }
  if (profiles.includes('wimse') && hasSignature(request.headers, profileEntry('wimse').label)) {
    return { profile: 'wimse', label: profileEntry('wimse').label };
  }
  if (profiles.includes('rfc9421')) return { profile: 'rfc9421', label: profileEntry('rfc9421').label };
  throw new KeydError('verification_failed', `the request has no signature of a profile taken here`);
}

function hasSignature(headers: readonly FieldLine[], label: string): boolean {
  if (fieldValues(headers, 'signature-input').length === 0) return false;
  const input = combinedFieldValue(headers, 'signature-input');
  return parseSfDictionary(input, 'signature-input').has(label);
}

/** draft-ietf-wimse-http-signature: who the message is for, by the name that configuration gave this server. */
function checkAudience(profile: ProfileName, audience: string | undefined, target: TargetUri): void {
  if (profile !== 'wimse' || audience === wimseAudience(target)) return;
  throw new KeydError('verification_failed', 'wimse-aud is not the target of this request');
}

async function verifiedDelegation(
  rules: VerifierDelegation | undefined,
  clock: DelegationClock,
  request: ProvenRequest,
): Promise<VerifiedDelegation | undefined> {
  if (rules === undefined) return undefined;
  // Coverage has seen to it that there is one line at most.
  const [chain] = fieldValues(request.headers, DELEGATION_CHAIN_HEADER);
  if (chain !== undefined) return verifyDelegationChain(trimOws(chain), request, rules, clock);
  if (rules.acceptWithoutChain === true) return undefined;
  throw new KeydError('verification_failed', `the request has no ${DELEGATION_CHAIN_HEADER}`);
}

function checkAlgorithm(alg: string | undefined, profile: ProfileName, agent: VerifiedAgent): void {
  if (alg === undefined) return;
  // The key decides (RFC 9421 §3.2 step 6); a message may only agree with it.
  if (profile === 'aauth' || alg !== algorithmEntry(agent.publicJwk.alg).httpSignatureName) {
    throw new KeydError(
      'verification_failed',
      `the signature names the algorithm ${alg.slice(0, 32)}, which its key does not use`,
    );
  }
}

function checkAssurance(agent: VerifiedAgent, floor: AssuranceLevel): void {
  if (meetsAssurance(agent.assurance, floor)) return;
  throw new KeydError(
    'appraisal_denied',
    `the key of ${agent.id} has the assurance ${agent.assurance}; this server asks for ${floor} or better`,
  );
}

function checkSources({ profiles, credentials, delegation }: VerifierOptions): void {
  const refuse = (reason: string): never => {
    throw new KeydError('configuration_invalid', reason);
  };
  if (delegation !== undefined) checkDelegationRules(delegation);
  if (profiles.length === 0) refuse('profiles is empty: no request could be verified');
  if (profiles.includes('aauth') && credentials.agentTokens === undefined) {
    refuse('the profile aauth needs credentials.agentTokens');
  }
  if (profiles.includes('wimse') && credentials.wit === undefined) {
    refuse('the profile wimse needs credentials.wit');
  }
  if (profiles.includes('rfc9421') && credentials.wit === undefined && credentials.pinnedKey === undefined) {
    refuse('the profile rfc9421 needs credentials.wit or credentials.pinnedKey');
  }
}

function positive(value: number, name: string): number {
  if (Number.isSafeInteger(value) && value >= 0 && value <= 3600) return value;
  throw new KeydError('configuration_invalid', `${name} must be a whole number of seconds from 0 to 3600`);
}
