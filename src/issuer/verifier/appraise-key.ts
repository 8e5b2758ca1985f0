/** Message C: may this key have these credentials? Certify proves where it lives, the CSR that it can be used. */
import { issueBound, type CredentialRequest, type IssueRequest } from '../../wire/issuance/issue.ts';
import type { AnchoredHeads } from '../../wire/audit-anchor.ts';
import type { Chain } from '../../delegation/chain.ts';
import { jwkThumbprint, type PublicJwk } from '../../wire/jwk.ts';
import { publicKeyObject } from '../../wire/public-key.ts';
import type { Attest, QuoteAttest } from '../../wire/tpm/attest.ts';
import type { PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import type { PublicArea } from '../../wire/tpm/public-area.ts';
import type { AppraisalPolicy } from './appraisal-policy.ts';
import { AreaMemory } from './area-memory.ts';
import { assessToken, assessTpm, type Assessment } from './assurance.ts';
import type { AttestationKey } from './attestation-key.ts';
import { checkCounterStatement, checkLogs } from './audit-counter.ts';
import { checkBootState, checkFirmware, type BootState } from './boot-state.ts';
import { checkCertifiedKey } from './certified-key.ts';
import {
  isSelfSigned,
  parseCertificationRequest,
  type CertificationRequest,
} from './certification-request.ts';
import { expectedExtraData } from './channel-binding.ts';
import { Appraisal, type CheckNumber } from './checks.ts';
import { checkChallenge, type ConsumedChallenge } from './consumed-challenge.ts';
import { checkPermission, registeredToken, type HostRecord } from './host-policy.ts';
import { judgeStanding, type HostStanding } from './host-standing.ts';
import type { SubAgentRules } from './sub-agent-chain.ts';
import { checkQuotedPcrs, checkQuoteSignature } from './quote.ts';

export interface KeyAppraisalInput {
  readonly standing: HostStanding;
  readonly standingExpiresAtSeconds: number;
  readonly host: HostRecord | undefined;
  readonly policy: AppraisalPolicy;
  /** What M5 asked for. */
  readonly request: CredentialRequest;
  /** M7. */
  readonly issue: IssueRequest;
  /** What M6 asked for: a quote of its own, or the standing's boot. */
  readonly quote: 'required' | 'reuse';
  readonly pcrSelection: PcrSelection;
  /** As the store took it out; undefined where it is unknown or used. */
  readonly challenge: ConsumedChallenge | undefined;
  /** TLS exporter of the connection that carried M7; undefined where TLS ends before the issuer. */
  readonly exporter: Uint8Array | undefined;
  readonly issuedInLastHour: number;
  /** Whose delegations count; undefined where nothing is granted on this host, and for a request without a chain. */
  readonly subAgents: SubAgentRules | undefined;
  readonly nowSeconds: number;
}

export interface KeyAppraisal {
  readonly jwk: PublicJwk;
  readonly heldBy: 'tpm' | 'token';
  /** Of a sub-agent. */
  readonly chain: Chain | undefined;
  /** About the host's TPM. */
  readonly host: Assessment;
  /** About this key; its level is the credential's. */
  readonly key: Assessment;
  /** To be stored in place of the standing's. */
  readonly boot: BootState;
  /** To be stored in place of what was seen before; undefined for a host that shows no logs. */
  readonly witnessed: AnchoredHeads | undefined;
  readonly passed: readonly CheckNumber[];
}

/** Apart from the memory of AKs: a host that has many agents pushes no other host's AK out. */
const agentKeys = new AreaMemory();

/** @throws KeydError `evidence_invalid`, `appraisal_denied`, `host_not_approved`, `name_not_permitted`, `invalid_name` */
export function appraiseKey(input: KeyAppraisalInput): KeyAppraisal {
  const { standing, policy, issue, request } = input;
  const appraisal = new Appraisal();
  const { subject, csr } = parseIssue(appraisal, input);
  const challenge = checkChallenge(appraisal, input.challenge, {
    op: 'issue',
    session: issue.session,
    subject: standing.akId,
    nowSeconds: input.nowSeconds,
  });
  const { ak, host } = judgeStanding(appraisal, standing, input.host, policy);
  appraisal.check(7, (verdict) => {
    if (input.standingExpiresAtSeconds <= input.nowSeconds)
      verdict.deny('the standing of this host has ended; attest again');
  });

  const bound = issueBound(
    request,
    subject.kind === 'tpm' ? subject.evidence.public : subject.jwk,
    issue.csr,
  );
  const statements: Attest[] = [];
  const hostAssessment = assessTpm(standing.endorsement, policy);
  let jwk: PublicJwk;
  let key: Assessment;
  if (subject.kind === 'tpm') {
    const certified = checkCertifiedKey(appraisal, {
      what: 'agent key',
      ak,
      area: subject.area,
      evidence: subject.evidence,
      extraData: appraisal.check(14, () =>
        expectedExtraData('issue-certify', challenge, bound, input.exporter),
      ),
      demands: { keyTypes: policy.keyTypes, authPolicies: policy.keyAuthPolicies },
    });
    statements.push(certified.attest);
    jwk = certified.jwk;
    key = hostAssessment;
  } else {
    jwk = subject.jwk;
    key = appraisal.check(17, (verdict) => {
      const token = registeredToken(host, subject.token);
      return token === undefined
        ? verdict.deny(`the token is not registered for ${host.label}`)
        : assessToken(token, hostAssessment, policy);
    });
  }
  const quote = checkQuote(appraisal, input, ak, challenge, bound);
  if (quote !== undefined) statements.push(quote);
  const counter = checkCounterStatement(appraisal, {
    ak,
    challenge,
    exporter: input.exporter,
    evidence: issue,
  });
  if (counter !== undefined) statements.push(counter);

  checkPossession(appraisal, csr, jwk);
  const boot = judgeBoot(appraisal, input, statements);
  if (quote !== undefined && issue.quote !== undefined) {
    checkQuotedPcrs(appraisal, ak, quote, input.pcrSelection, issue.quote.pcrs);
  }
  const witnessed = checkLogs(appraisal, standing.logs, issue, counter);
  const chain = checkPermission(appraisal, host, {
    request,
    issuedInLastHour: input.issuedInLastHour,
    keyThumbprint: jwkThumbprint(jwk),
    subAgents: input.subAgents,
  });
  return {
    jwk,
    heldBy: subject.kind,
    chain,
    host: hostAssessment,
    key,
    boot,
    witnessed,
    passed: appraisal.passed,
  };
}

type Subject =
  | {
      readonly kind: 'tpm';
      readonly area: PublicArea;
      readonly evidence: NonNullable<IssueRequest['tpmKey']>;
    }
  | ({ readonly kind: 'token' } & NonNullable<IssueRequest['tokenKey']>);

function parseIssue(
  appraisal: Appraisal,
  { issue, quote }: KeyAppraisalInput,
): { readonly subject: Subject; readonly csr: CertificationRequest } {
  return appraisal.check(1, (verdict) => {
    const csr = parseCertificationRequest(issue.csr);
    if ((issue.tpmKey === undefined) === (issue.tokenKey === undefined)) {
      verdict.reject('exactly one of tpmKey and tokenKey belongs here');
    }
    if ((issue.quote !== undefined) !== (quote === 'required')) {
      verdict.reject(
        quote === 'required' ? 'the quote that was asked for is missing' : 'no quote was asked for',
      );
    }
    const subject: Subject =
      issue.tpmKey !== undefined
        ? { kind: 'tpm', area: agentKeys.parsed(issue.tpmKey.public), evidence: issue.tpmKey }
        : issue.tokenKey !== undefined
          ? { kind: 'token', ...issue.tokenKey }
          : verdict.reject('there is no key');
    return { subject, csr };
  });
}

function checkQuote(
  appraisal: Appraisal,
  { issue, exporter }: KeyAppraisalInput,
  ak: AttestationKey,
  challenge: ConsumedChallenge,
  bound: Uint8Array,
): QuoteAttest | undefined {
  if (issue.quote === undefined) return undefined;
  const extraData = appraisal.check(14, () => expectedExtraData('issue-quote', challenge, bound, exporter));
  return checkQuoteSignature(appraisal, ak, issue.quote, extraData);
}

function checkPossession(appraisal: Appraisal, csr: CertificationRequest, jwk: PublicJwk): void {
  appraisal.check(18, (verdict) => {
    if (!csr.publicKey.equals(publicKeyObject(jwk))) verdict.reject('the CSR is for another key');
    if (!isSelfSigned(csr))
      verdict.reject('the CSR is not signed by its own key, or not by an accepted algorithm');
  });
}

/** A quote of its own may show a newer boot; without one the key must be certified within the standing's. */
function judgeBoot(appraisal: Appraisal, input: KeyAppraisalInput, statements: readonly Attest[]): BootState {
  const { standing, policy } = input;
  // A token key with a reused quote comes with no new statement: the standing's boot stays what is known.
  if (statements.length === 0) return standing.boot;
  const rule = input.quote === 'required' ? 'forward' : 'same-boot';
  const { boot } = checkBootState(appraisal, statements, standing.boot, rule, policy.clearedTpm);
  checkFirmware(appraisal, boot, standing.endorsement.tpm, policy.firmwareFloors);
  return boot;
}
