/** Message A: a host's TPM becomes known, its AK and host keys certified (docs/protocol.md). */
import { object, octets, parse } from '../wire/check.ts';
import {
  enrolRequest,
  type EnrolChallenge,
  type EnrolEvidence,
  type EnrolRequest,
  type Standing,
} from '../wire/issuance/enrolment.ts';
import { toJson } from '../wire/json-octets.ts';
import { jwkThumbprint, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { nowSeconds, QUOTED_PCRS, QUOTED_PCRS_JSON, type IssuerContext } from './issuer-context.ts';
import { beginStanding, standingAnswer } from './standing-service.ts';
import {
  appraiseEnrolment,
  appraiseEnrolmentRequest,
  ekHashOf,
  makeEnrolmentCredential,
  type EnrolmentCandidate,
} from './verifier/appraise-enrolment.ts';

/** What a session remembers between M2 and M3. */
const enrolmentSession = object({
  request: enrolRequest,
  secret: octets({ min: 32, max: 32 }),
});

/**
 * M1 to M2: a credential that only the endorsed TPM with this AK can open, and a challenge.
 * @throws KeydError `evidence_invalid`, `appraisal_denied`, `host_not_approved`, `too_many_requests`
 */
export async function beginEnrolment(
  context: IssuerContext,
  request: EnrolRequest,
  network: string,
): Promise<EnrolChallenge> {
  refuseToken(request);
  const candidate = await appraiseCandidate(context, request, network);
  const { secret, credential } = makeEnrolmentCredential(candidate);
  const { session, challenge } = await context.challenges.open(
    'enroll',
    candidate.ekHash,
    network,
    toJson({ request, secret }),
    nowSeconds(context),
  );
  return { session, challenge, credential, pcrSelection: QUOTED_PCRS_JSON };
}

/** A token selects a pre-approved group (DECISIONS 11); without groups it could only be ignored in silence. */
function refuseToken({ enrolmentToken }: EnrolRequest): void {
  if (enrolmentToken === undefined) return;
  throw new KeydError(
    'host_not_approved',
    'this issuer has no enrolment groups; leave issuer.enrolment_token out and have the host approved in hosts.toml',
  );
}

/**
 * M3 to M4: the whole checklist, and with it the host's first standing.
 * @param exporter of the connection that carries M3; undefined where configuration says `proxied`
 * @throws KeydError `session_unknown`, `evidence_invalid`, `appraisal_denied`, `host_not_approved`
 */
export async function finishEnrolment(
  context: IssuerContext,
  evidence: EnrolEvidence,
  exporter: Uint8Array | undefined,
): Promise<Standing> {
  const now = nowSeconds(context);
  const { challenge, data } = await context.challenges.take(evidence.session, 'enroll', undefined, now);
  const { request, secret } = parse(enrolmentSession, data, 'internal');
  const ekHash = ekHashOf(request.ek.public);
  const before = await context.store.hosts.byEk(ekHash);
  const appraised = appraiseEnrolment({
    request,
    host: context.hosts.find(ekHash),
    policy: context.policy(),
    nowSeconds: now,
    evidence,
    challenge,
    secret,
    exporter,
    pcrSelection: QUOTED_PCRS,
    stored: before?.boot,
    witness: await context.store.witnesses.byEk(ekHash),
  });
  await refuseAgentKeys(context, [appraised.hostKey, appraised.auditKey]);
  const { akId } = appraised.ak;
  const renewed = await beginStanding(context, { ...appraised, akId }, challenge.claims.nonce);
  const host = {
    ...renewed,
    akId,
    ekHash,
    akPublic: request.ak.public,
    hostKey: appraised.hostKey,
    auditKey: appraised.auditKey,
    nvPublic: evidence.nvPublic,
    endorsement: appraised.endorsement,
    enrolledAtSeconds: now,
  };
  await context.store.hosts.enrol(host);
  context.logger.info(
    {
      akId,
      ekHash,
      host: appraised.host.label,
      assurance: host.assurance,
      developmentPolicy: host.developmentPolicy,
      history: appraised.history,
      checks: appraised.passed,
    },
    'a host enrolled',
  );
  return standingAnswer(context, host);
}

/** A key that agents' callers have had sign things authenticates no host (S1). */
async function refuseAgentKeys(context: IssuerContext, keys: readonly PublicJwk[]): Promise<void> {
  for (const key of keys) {
    if (await context.store.issuances.isAgentKey(jwkThumbprint(key))) {
      throw new KeydError('evidence_invalid', 'host key and audit key must never have been an agent’s');
    }
  }
}

async function appraiseCandidate(
  context: IssuerContext,
  request: EnrolRequest,
  network: string,
): Promise<EnrolmentCandidate> {
  const ekHash = ekHashOf(request.ek.public);
  try {
    return appraiseEnrolmentRequest({
      request,
      host: context.hosts.find(ekHash),
      policy: context.policy(),
      nowSeconds: nowSeconds(context),
    });
  } catch (thrown) {
    if (thrown instanceof KeydError && thrown.code === 'host_not_approved') {
      await context.store.hosts.noteUnapproved(ekHash, network, request.tpmInfo, nowSeconds(context));
      context.logger.info({ ekHash, network }, 'a host that nobody approved asked for enrolment');
    }
    throw thrown;
  }
}
