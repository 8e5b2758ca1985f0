/** One honest run of each message by a real TPM, as inputs of the Verifier that tests then spoil. */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { activationMessage, attestedData } from '../../../src/wire/attested-data.ts';
import type { ChallengeClaims } from '../../../src/wire/issuance/challenge.ts';
import { enrolmentBound, enrolmentOctets, type EnrolRequest } from '../../../src/wire/issuance/enrolment.ts';
import { issueBound, type CredentialRequest, type IssueRequest } from '../../../src/wire/issuance/issue.ts';
import { reattestationBound } from '../../../src/wire/issuance/reattestation.ts';
import { publicAreaName } from '../../../src/wire/tpm/name.ts';
import { ATTESTED_PCRS } from '../../../src/wire/tpm/pcr-selection.ts';
import { parseCertificate } from '../../../src/wire/x509.ts';
import type { AppraisalPolicy } from '../../../src/issuer/verifier/appraisal-policy.ts';
import {
  appraiseEnrolment,
  appraiseEnrolmentRequest,
  ekHashOf,
  makeEnrolmentCredential,
  type EnrolmentInput,
} from '../../../src/issuer/verifier/appraise-enrolment.ts';
import type { KeyAppraisalInput } from '../../../src/issuer/verifier/appraise-key.ts';
import type { ReattestationInput } from '../../../src/issuer/verifier/appraise-reattestation.ts';
import type { ConsumedChallenge } from '../../../src/issuer/verifier/consumed-challenge.ts';
import { configuredRoot } from '../../../src/issuer/verifier/endorsement-roots.ts';
import type { HostRecord } from '../../../src/issuer/verifier/host-policy.ts';
import type { HostStanding } from '../../../src/issuer/verifier/host-standing.ts';
import type { AttestedHost, HostKey } from '../../support/attested-host.ts';
import { makeCsr } from '../../support/certificates.ts';
import { consumedChallenge } from '../../support/consumed-challenge.ts';

/** Within the life of every certificate used here: a minute on, since a swtpm's are made after this is read. */
export const NOW = Math.floor(Date.now() / 1000) + 60;
export const EXPORTER: Uint8Array = randomBytes(32);

export async function developmentPolicy(host: AttestedHost): Promise<AppraisalPolicy> {
  const ca = await host.testCa();
  return {
    id: 'urn:example:policy:1',
    roots: [configuredRoot(ca.root, 'swtpm test CA')],
    intermediates: [parseCertificate(ca.issuer)],
    revocationLists: [],
    expiredEkCertificate: 'refuse',
    models: { minimumRevision: 116, denied: [] },
    firmwareFloors: [],
    keyTypes: ['P-256', 'P-384'],
    keyAuthPolicies: [new Uint8Array()],
    clearedTpm: 'refuse',
    development: { name: 'lab' },
  };
}

export function hostRecord(host: AttestedHost): HostRecord {
  return {
    ekHash: ekHashOf(host.ekPublic),
    label: 'node-1',
    namePatterns: ['pay-*'],
    principal: 'ops@example.org',
    maxTtlSeconds: 3600,
    profiles: ['x509', 'wit'],
    tokens: [],
    maxIssuancesPerHour: 100,
  };
}

export function challengeFor(op: ChallengeClaims['op'], subject: string): ConsumedChallenge {
  return consumedChallenge(op, subject, NOW);
}

export function enrolRequest(host: AttestedHost, ak: HostKey): EnrolRequest {
  return {
    v: 1,
    ek: { template: host.ekTemplate, public: host.ekPublic, cert: host.ekCertificate, chain: [] },
    ak: { public: ak.publicArea },
    tpmInfo: 'swtpm',
  };
}

export interface HostKeys {
  readonly ak: HostKey;
  readonly hostKey: HostKey;
  readonly auditKey: HostKey;
}

export async function createHostKeys(host: AttestedHost): Promise<HostKeys> {
  return {
    ak: await host.createAk(),
    hostKey: await host.createAgentKey(),
    auditKey: await host.createAgentKey(),
  };
}

/** M1 to M3, honestly; the challenge is taken out of the store once, here. */
export async function enrolmentInput(host: AttestedHost, keys: HostKeys): Promise<EnrolmentInput> {
  const request = enrolRequest(host, keys.ak);
  const base = { request, host: hostRecord(host), policy: await developmentPolicy(host), nowSeconds: NOW };
  const { secret, credential } = makeEnrolmentCredential(appraiseEnrolmentRequest(base));
  const challenge = challengeFor('enroll', ekHashOf(host.ekPublic));
  const activated = await host.activate(keys.ak, credential);
  const bound = enrolmentBound(request, keys.hostKey.publicArea, keys.auditKey.publicArea, undefined);
  const extraData = attestedData('enroll', challenge.jws, bound, EXPORTER);
  const proof = createHmac('sha256', activated)
    .update(activationMessage(challenge.jws, enrolmentOctets(request)))
    .digest();
  return {
    ...base,
    evidence: {
      session: challenge.claims.session,
      proof,
      quote: await host.quote(keys.ak, ATTESTED_PCRS, extraData),
      hostKey: await host.certify(keys.ak, keys.hostKey, extraData),
      auditKey: await host.certify(keys.ak, keys.auditKey, extraData),
    },
    challenge,
    secret,
    exporter: EXPORTER,
    pcrSelection: ATTESTED_PCRS,
    stored: undefined,
    witness: undefined,
  };
}

/** The standing that an honest enrolment leaves. */
export async function enrolledStanding(host: AttestedHost, keys: HostKeys): Promise<HostStanding> {
  const { ak, ekHash, endorsement, boot } = appraiseEnrolment(await enrolmentInput(host, keys));
  const logs = { nvPublic: undefined, witness: undefined };
  return { akId: ak.akId, akPublic: keys.ak.publicArea, ekHash, endorsement, boot, logs };
}

export async function reattestationInput(
  host: AttestedHost,
  ak: HostKey,
  standing: HostStanding,
): Promise<ReattestationInput> {
  const challenge = challengeFor('reattest', standing.akId);
  const { session } = challenge.claims;
  const bound = reattestationBound(standing.akId, session);
  const extraData = attestedData('reattest', challenge.jws, bound, EXPORTER);
  return {
    standing,
    host: hostRecord(host),
    policy: await developmentPolicy(host),
    evidence: { session, quote: await host.quote(ak, ATTESTED_PCRS, extraData) },
    challenge,
    exporter: EXPORTER,
    pcrSelection: ATTESTED_PCRS,
    nowSeconds: NOW,
  };
}

export const REQUEST: CredentialRequest = {
  agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
  name: 'pay-1',
  creds: ['x509', 'wit'],
  ttlSeconds: 3600,
};

/** A CSR by a key of the host's TPM. */
export function csrOf(host: AttestedHost, key: HostKey): Promise<Uint8Array> {
  return makeCsr(key.publicArea, (tbs) => host.sign(key, createHash('sha256').update(tbs).digest()));
}

export async function keyInput(
  host: AttestedHost,
  ak: HostKey,
  key: HostKey,
  standing: HostStanding,
  options: { readonly quote?: 'required' | 'reuse'; readonly csr?: Uint8Array } = {},
): Promise<KeyAppraisalInput> {
  const quote = options.quote ?? 'required';
  const challenge = challengeFor('issue', standing.akId);
  const csr = options.csr ?? (await csrOf(host, key));
  const bound = issueBound(REQUEST, key.publicArea, csr);
  const extraData = (op: 'issue-certify' | 'issue-quote'): Uint8Array =>
    attestedData(op, challenge.jws, bound, EXPORTER);
  const issue: IssueRequest = {
    session: challenge.claims.session,
    tpmKey: await host.certify(ak, key, extraData('issue-certify')),
    csr,
    ...(quote === 'required' ? { quote: await host.quote(ak, ATTESTED_PCRS, extraData('issue-quote')) } : {}),
  };
  return {
    standing,
    standingExpiresAtSeconds: NOW + 3600,
    host: hostRecord(host),
    policy: await developmentPolicy(host),
    request: REQUEST,
    issue,
    quote,
    pcrSelection: ATTESTED_PCRS,
    challenge,
    exporter: EXPORTER,
    issuedInLastHour: 0,
    subAgents: undefined,
    nowSeconds: NOW,
  };
}

export function nameHex(key: HostKey): string {
  return Buffer.from(publicAreaName(key.publicArea)).toString('hex');
}
