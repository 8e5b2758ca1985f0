/**
 * Check 26: the logs of a host go on from where they were last seen, and its counter is the enrolled one and goes up.
 * What a copied state can not have is what came after the copy: the counter's value, and a log that extends it.
 */
import { anchorBound, type AnchoredHeads } from '../../wire/audit-anchor.ts';
import { decodeBase64url } from '../../wire/base64url.ts';
import type { LogEvidence } from '../../wire/issuance/log-evidence.ts';
import { verifyConsistency } from '../../wire/merkle.ts';
import type { NvAttest } from '../../wire/tpm/attest.ts';
import { auditCounterFault, counterValue } from '../../wire/tpm/audit-counter.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { nvName, parseNvPublic } from '../../wire/tpm/nv-public.ts';
import type { AttestationKey } from './attestation-key.ts';
import { expectedExtraData } from './channel-binding.ts';
import type { Appraisal, Verdict } from './checks.ts';
import type { ConsumedChallenge } from './consumed-challenge.ts';
import { checkSignedAttest } from './signed-attest.ts';

/** What was last seen of a host's logs. */
export interface Witness extends AnchoredHeads {
  /** Whether a counter vouched for it. */
  readonly isCounted: boolean;
}

/** What is on record of a host's logs. */
export interface HostLogs {
  /** TPMS_NV_PUBLIC of the counter, as enrolled; undefined for a host without one. */
  readonly nvPublic: Uint8Array | undefined;
  readonly witness: Witness | undefined;
}

export interface CounterStatementInput {
  readonly ak: AttestationKey;
  readonly challenge: ConsumedChallenge;
  readonly exporter: Uint8Array | undefined;
  readonly evidence: LogEvidence;
}

/** Over M3: a counter of the one form there is. A host that had one does not go on without. */
export function checkEnrolledCounter(
  appraisal: Appraisal,
  nvPublic: Uint8Array | undefined,
  witness: Witness | undefined,
): void {
  if (nvPublic === undefined && witness?.isCounted !== true) return;
  appraisal.check(26, (verdict) => {
    if (nvPublic === undefined) return verdict.reject('this host had a counter and enrols without one');
    const fault = auditCounterFault(parseNvPublic(nvPublic));
    if (fault !== undefined) verdict.reject(`this NV index is no counter for the audit log: ${fault}`);
  });
}

/** Checks 11 to 15 over TPM2_NV_Certify; undefined where the evidence has none. @throws KeydError `evidence_invalid` */
export function checkCounterStatement(
  appraisal: Appraisal,
  { ak, challenge, exporter, evidence: { auditCounter } }: CounterStatementInput,
): NvAttest | undefined {
  if (auditCounter === undefined) return undefined;
  const { attest, sig: signature, head } = auditCounter;
  const extraData = appraisal.check(14, () =>
    expectedExtraData('audit', challenge, anchorBound(head), exporter),
  );
  return checkSignedAttest(appraisal, {
    what: 'audit counter',
    type: 'nv',
    ak,
    attest,
    signature,
    extraData,
  });
}

/**
 * Check 26; gives what is to be remembered.
 * @param statement of `checkCounterStatement`
 * @throws KeydError `evidence_invalid`
 */
export function checkLogs(
  appraisal: Appraisal,
  { nvPublic, witness }: HostLogs,
  evidence: LogEvidence,
  statement: NvAttest | undefined,
): AnchoredHeads | undefined {
  const shown = evidence.auditCounter ?? evidence.auditHead;
  // A host that has never shown its logs, and has no counter, has nothing to show.
  if (shown === undefined && nvPublic === undefined && witness === undefined) return undefined;
  return appraisal.check(26, (verdict) => {
    if (evidence.auditCounter !== undefined && evidence.auditHead !== undefined)
      verdict.reject('auditCounter and auditHead do not go together');
    if (nvPublic !== undefined) requireCounter(nvPublic, evidence, statement, verdict);
    else if (evidence.auditCounter !== undefined) verdict.reject('no counter was enrolled for this host');
    if (shown === undefined) return verdict.reject('auditHead is missing, which this host has shown before');
    if (witness !== undefined) requireGoingOn(witness, shown.head, shown.consistency, verdict);
    return shown.head;
  });
}

function requireCounter(
  nvPublic: Uint8Array,
  { auditCounter }: LogEvidence,
  statement: NvAttest | undefined,
  verdict: Verdict,
): void {
  if (auditCounter === undefined || statement === undefined)
    return verdict.reject('auditCounter is missing, and a counter was enrolled for this host');
  if (!sameOctets(statement.indexName, nvName(parseNvPublic(nvPublic))))
    verdict.reject('the certified NV index is not the counter that was enrolled');
  const value = statement.offset === 0 ? counterValue(statement.nvContents) : undefined;
  if (value === undefined) return verdict.reject('what was certified is not the whole counter');
  if (String(value) !== auditCounter.head.epoch)
    verdict.reject(`the counter is at ${value}, and the ledger of epoch ${auditCounter.head.epoch}`);
}

function requireGoingOn(
  witness: Witness,
  head: AnchoredHeads,
  proof: readonly Uint8Array[],
  verdict: Verdict,
): void {
  if (BigInt(head.epoch) < BigInt(witness.epoch))
    verdict.reject(
      `the counter is at ${head.epoch}, and was seen at ${witness.epoch}: an older copy of the state`,
    );
  if (head.auditSize < witness.auditSize) {
    verdict.reject(
      `the audit log has ${head.auditSize} entries, and was seen with ${witness.auditSize}: an older copy of the state`,
    );
  }
  const [first, second] = [decodeBase64url(witness.auditHead), decodeBase64url(head.auditHead)];
  if (!verifyConsistency(witness.auditSize, head.auditSize, proof, first, second))
    verdict.reject(`the audit log does not go on from the ${witness.auditSize} entries that were seen of it`);
}
