/** Message A: is this AK in a TPM that a vendor endorses and an operator approved? Checks 1 to 22 but 18. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { activationMessage } from '../../wire/attested-data.ts';
import {
  enrolmentBound,
  enrolmentOctets,
  type EnrolEvidence,
  type EnrolRequest,
} from '../../wire/issuance/enrolment.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import type { PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import { parsePublicArea, type PublicArea } from '../../wire/tpm/public-area.ts';
import { rebuildEkPublic } from '../../wire/tpm/templates.ts';
import { parseCertificate } from '../../wire/x509.ts';
import type { AppraisalPolicy } from './appraisal-policy.ts';
import { assessTpm, type Assessment } from './assurance.ts';
import { checkAttestationKey, type AttestationKey } from './attestation-key.ts';
import { checkEnrolledCounter, type Witness } from './audit-counter.ts';
import { checkBootState, checkFirmware, type BootHistory, type BootState } from './boot-state.ts';
import { findPath } from './certificate-path.ts';
import { checkCertifiedKey, HOST_KEY_DEMANDS } from './certified-key.ts';
import { expectedExtraData } from './channel-binding.ts';
import { Appraisal, type CheckNumber } from './checks.ts';
import { checkChallenge, type ConsumedChallenge } from './consumed-challenge.ts';
import { checkEkProfile, parseEkCertificate } from './ek-certificate.ts';
import { endorsementOf, TEST_ROOT, type Endorsement } from './endorsement.ts';
import { checkKnownHost, type HostRecord } from './host-policy.ts';
import { makeCredential, type Credential } from './make-credential.ts';
import { checkQuotedPcrs, checkQuoteSignature } from './quote.ts';

export interface EnrolmentRequestInput {
  /** M1. */
  readonly request: EnrolRequest;
  /** The approved host with this EK, if there is one. */
  readonly host: HostRecord | undefined;
  readonly policy: AppraisalPolicy;
  readonly nowSeconds: number;
}

/** M1 passed: worth a credential and a challenge. */
export interface EnrolmentCandidate {
  readonly ek: PublicArea;
  /** SHA-256 of the EK's TPMT_PUBLIC, lower-case hex. */
  readonly ekHash: string;
  readonly ak: AttestationKey;
  readonly endorsement: Endorsement;
  readonly host: HostRecord;
}

export interface EnrolmentInput extends EnrolmentRequestInput {
  /** M3. */
  readonly evidence: EnrolEvidence;
  /** As the store took it out; undefined where it is unknown or used. */
  readonly challenge: ConsumedChallenge | undefined;
  /** What was put into the credential of M2. */
  readonly secret: Uint8Array;
  /** TLS exporter of the connection that carried M3; undefined where TLS ends before the issuer. */
  readonly exporter: Uint8Array | undefined;
  readonly pcrSelection: PcrSelection;
  /** Last state of this AK's TPM, if it was enrolled before. */
  readonly stored: BootState | undefined;
  /** What was last seen of this TPM's host, if it was enrolled before. */
  readonly witness: Witness | undefined;
}

export interface EnrolmentResult extends EnrolmentCandidate {
  readonly hostKey: PublicJwk;
  readonly auditKey: PublicJwk;
  readonly boot: BootState;
  readonly history: BootHistory;
  readonly assessment: Assessment;
  readonly passed: readonly CheckNumber[];
}

const CREDENTIAL_SECRET_OCTETS = 32;

/** SHA-256 of an EK's TPMT_PUBLIC, lower-case hex: the name of a host in inventories and challenges. */
export function ekHashOf(ekPublic: Uint8Array): string {
  return createHash('sha256').update(ekPublic).digest('hex');
}

/**
 * Checks 1 and 3 to 9 over M1.
 * @throws KeydError `evidence_invalid`, `appraisal_denied`, `host_not_approved`
 */
export function appraiseEnrolmentRequest(input: EnrolmentRequestInput): EnrolmentCandidate {
  const appraisal = new Appraisal();
  return judgeRequest(appraisal, input, parseRequest(appraisal, input.request));
}

/** The credential of M2 and the secret in it, 32 octets, which the issuer keeps with the session. */
export function makeEnrolmentCredential(candidate: EnrolmentCandidate): {
  readonly secret: Uint8Array;
  readonly credential: Credential;
} {
  const secret = randomBytes(CREDENTIAL_SECRET_OCTETS);
  return { secret, credential: makeCredential(candidate.ek, candidate.ak.name, secret) };
}

/**
 * The whole list over M1 and M3; M1 is judged again, so that nothing rests on a stored conclusion.
 * @throws KeydError `evidence_invalid`, `appraisal_denied`, `host_not_approved`
 */
export function appraiseEnrolment(input: EnrolmentInput): EnrolmentResult {
  const { request, evidence, policy } = input;
  const appraisal = new Appraisal();
  const parsed = parseRequest(appraisal, request);
  const keys = appraisal.check(1, () => ({
    host: parsePublicArea(evidence.hostKey.public),
    audit: parsePublicArea(evidence.auditKey.public),
  }));
  const challenge = checkChallenge(appraisal, input.challenge, {
    op: 'enroll',
    session: evidence.session,
    subject: ekHashOf(request.ek.public),
    nowSeconds: input.nowSeconds,
  });
  const candidate = judgeRequest(appraisal, input, parsed);
  const { ak } = candidate;

  appraisal.check(10, (verdict) => {
    const message = activationMessage(challenge.jws, enrolmentOctets(request));
    const expected = createHmac('sha256', input.secret).update(message).digest();
    if (evidence.proof.length !== expected.length || !timingSafeEqual(evidence.proof, expected)) {
      verdict.reject('the credential was not activated: the AK is not in the TPM of this EK');
    }
  });

  const { nvPublic } = evidence;
  const bound = enrolmentBound(request, evidence.hostKey.public, evidence.auditKey.public, nvPublic);
  const extraData = appraisal.check(14, () => expectedExtraData('enroll', challenge, bound, input.exporter));
  const quote = checkQuoteSignature(appraisal, ak, evidence.quote, extraData);
  const certified = (
    what: string,
    area: PublicArea,
    key: EnrolEvidence['hostKey'],
  ): ReturnType<typeof checkCertifiedKey> =>
    checkCertifiedKey(appraisal, { what, ak, area, evidence: key, extraData, demands: HOST_KEY_DEMANDS });
  const hostKey = certified('host key', keys.host, evidence.hostKey);
  const auditKey = certified('audit key', keys.audit, evidence.auditKey);
  appraisal.check(17, (verdict) => {
    if (sameOctets(evidence.hostKey.public, evidence.auditKey.public)) {
      verdict.reject('host key and audit key are one key; each serves one purpose');
    }
  });

  const attests = [quote, hostKey.attest, auditKey.attest];
  const { boot, history } = checkBootState(appraisal, attests, input.stored, 'enrol', policy.clearedTpm);
  checkFirmware(appraisal, boot, candidate.endorsement.tpm, policy.firmwareFloors);
  checkQuotedPcrs(appraisal, ak, quote, input.pcrSelection, evidence.quote.pcrs);
  checkEnrolledCounter(appraisal, nvPublic, input.witness);
  return {
    ...candidate,
    hostKey: hostKey.jwk,
    auditKey: auditKey.jwk,
    boot,
    history,
    assessment: assessTpm(candidate.endorsement, policy),
    passed: appraisal.passed,
  };
}

interface ParsedRequest {
  readonly ek: PublicArea;
  readonly ak: PublicArea;
}

function parseRequest(appraisal: Appraisal, request: EnrolRequest): ParsedRequest {
  return appraisal.check(1, () => ({
    ek: parsePublicArea(request.ek.public),
    ak: parsePublicArea(request.ak.public),
  }));
}

function judgeRequest(
  appraisal: Appraisal,
  { request, policy, host, nowSeconds }: EnrolmentRequestInput,
  parsed: ParsedRequest,
): EnrolmentCandidate {
  const certificate = appraisal.check(3, () => parseEkCertificate(request.ek.cert));
  const path = appraisal.check(4, (verdict) => {
    const sent = request.ek.chain.map((encoded) => parseCertificate(encoded, 'certificate of the chain'));
    const found = findPath({
      leaf: certificate.certificate,
      intermediates: [...sent, ...policy.intermediates],
      roots: policy.roots,
      revocationLists: policy.revocationLists,
      nowSeconds,
      expiredLeaf: policy.expiredEkCertificate,
    });
    if (found.root.kind === 'test' && policy.development === undefined) verdict.deny(TEST_ROOT);
    return found;
  });
  const tpm = appraisal.check(5, (verdict) => checkEkProfile(certificate, policy.models, verdict));
  appraisal.check(6, (verdict) => {
    if (!sameOctets(request.ek.public, rebuildEkPublic(request.ek.template, certificate.publicKey))) {
      verdict.reject(`the EK is not what the template ${request.ek.template} makes of the certificate's key`);
    }
  });
  const ekHash = ekHashOf(request.ek.public);
  const known = checkKnownHost(appraisal, host, ekHash);
  const ak = checkAttestationKey(appraisal, parsed.ak, request.ak.public);
  return { ek: parsed.ek, ekHash, ak, endorsement: endorsementOf(path, tpm), host: known };
}
