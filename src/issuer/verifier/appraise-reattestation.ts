/** Message B: is the enrolled TPM still there, in the same life, and in what state did it boot? */
import { reattestationBound, type ReattestEvidence } from '../../wire/issuance/reattestation.ts';
import type { PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import type { AnchoredHeads } from '../../wire/audit-anchor.ts';
import type { AppraisalPolicy } from './appraisal-policy.ts';
import { assessTpm, type Assessment } from './assurance.ts';
import { checkCounterStatement, checkLogs } from './audit-counter.ts';
import { checkBootState, checkFirmware, type BootState } from './boot-state.ts';
import { expectedExtraData } from './channel-binding.ts';
import { Appraisal, type CheckNumber } from './checks.ts';
import { checkChallenge, type ConsumedChallenge } from './consumed-challenge.ts';
import type { HostRecord } from './host-policy.ts';
import { judgeStanding, type HostStanding } from './host-standing.ts';
import { checkQuotedPcrs, checkQuoteSignature } from './quote.ts';

export interface ReattestationInput {
  readonly standing: HostStanding;
  readonly host: HostRecord | undefined;
  readonly policy: AppraisalPolicy;
  readonly evidence: ReattestEvidence;
  /** As the store took it out; undefined where it is unknown or used. */
  readonly challenge: ConsumedChallenge | undefined;
  /** TLS exporter of the connection that carried the evidence; undefined where TLS ends before the issuer. */
  readonly exporter: Uint8Array | undefined;
  readonly pcrSelection: PcrSelection;
  readonly nowSeconds: number;
}

export interface ReattestationResult {
  /** To be stored in place of the standing's. */
  readonly boot: BootState;
  /** To be stored in place of what was seen before; undefined for a host that shows no logs. */
  readonly witnessed: AnchoredHeads | undefined;
  readonly assessment: Assessment;
  readonly passed: readonly CheckNumber[];
}

/** @throws KeydError `evidence_invalid`, `appraisal_denied`, `host_not_approved` */
export function appraiseReattestation(input: ReattestationInput): ReattestationResult {
  const { standing, policy, evidence } = input;
  const appraisal = new Appraisal();
  const challenge = checkChallenge(appraisal, input.challenge, {
    op: 'reattest',
    session: evidence.session,
    subject: standing.akId,
    nowSeconds: input.nowSeconds,
  });
  const { ak } = judgeStanding(appraisal, standing, input.host, policy);
  const bound = reattestationBound(standing.akId, evidence.session);
  const extraData = appraisal.check(14, () =>
    expectedExtraData('reattest', challenge, bound, input.exporter),
  );
  const quote = checkQuoteSignature(appraisal, ak, evidence.quote, extraData);
  const counter = checkCounterStatement(appraisal, { ak, challenge, exporter: input.exporter, evidence });
  const statements = counter === undefined ? [quote] : [quote, counter];
  const { boot } = checkBootState(appraisal, statements, standing.boot, 'forward', policy.clearedTpm);
  checkFirmware(appraisal, boot, standing.endorsement.tpm, policy.firmwareFloors);
  checkQuotedPcrs(appraisal, ak, quote, input.pcrSelection, evidence.quote.pcrs);
  const witnessed = checkLogs(appraisal, standing.logs, evidence, counter);
  return { boot, witnessed, assessment: assessTpm(standing.endorsement, policy), passed: appraisal.passed };
}
