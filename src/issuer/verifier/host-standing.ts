/** An enrolled host as the issuer keeps it, and the part of the list that every later message repeats. */
import type { AppraisalPolicy } from './appraisal-policy.ts';
import { AreaMemory } from './area-memory.ts';
import { checkAttestationKey, type AttestationKey } from './attestation-key.ts';
import type { HostLogs } from './audit-counter.ts';
import type { BootState } from './boot-state.ts';
import type { Appraisal } from './checks.ts';
import { judgeEndorsement, type Endorsement } from './endorsement.ts';
import { checkKnownHost, type HostRecord } from './host-policy.ts';

export interface HostStanding {
  /** Lower-case hex of the AK's Name. */
  readonly akId: string;
  /** TPMT_PUBLIC of the AK, as enrolled. */
  readonly akPublic: Uint8Array;
  readonly ekHash: string;
  readonly endorsement: Endorsement;
  /** As last attested. */
  readonly boot: BootState;
  readonly logs: HostLogs;
}

const attestationKeys = new AreaMemory();

/**
 * Checks 4, 5, 7, 8 and 9 over what is on record: a root, model or host that was struck off since ends it here.
 * @throws KeydError `appraisal_denied`, `host_not_approved`, `evidence_invalid`
 */
export function judgeStanding(
  appraisal: Appraisal,
  standing: HostStanding,
  host: HostRecord | undefined,
  policy: AppraisalPolicy,
): { readonly ak: AttestationKey; readonly host: HostRecord } {
  judgeEndorsement(appraisal, standing.endorsement, policy);
  const known = checkKnownHost(appraisal, host, standing.ekHash);
  const area = appraisal.check(8, () => attestationKeys.parsed(standing.akPublic));
  return { ak: checkAttestationKey(appraisal, area, standing.akPublic, standing.akId), host: known };
}
