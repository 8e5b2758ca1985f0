/** The standing of a host: what an appraisal gives it, for how long, and the Attestation Result that says so. */
import type { Standing } from '../wire/issuance/enrolment.ts';
import { KeydError } from '../wire/problem.ts';
import { nowSeconds, VERIFIER_BUILD, type IssuerContext } from './issuer-context.ts';
import type { EnrolledHost } from './store/host-records.ts';
import type { Assessment } from './verifier/assurance.ts';
import type { BootState } from './verifier/boot-state.ts';
import { EAR_TYP, earClaims } from './verifier/ear.ts';

/** The members of an enrolled host that a successful appraisal renews. */
export type RenewedStanding = Pick<
  EnrolledHost,
  'boot' | 'assurance' | 'developmentPolicy' | 'ear' | 'attestedAtSeconds' | 'standingEndsAtSeconds'
>;

/** Signs the EAR of a standing that begins now. */
export async function beginStanding(
  context: IssuerContext,
  appraised: { readonly akId: string; readonly boot: BootState; readonly assessment: Assessment },
  nonce: string,
): Promise<RenewedStanding> {
  const { akId, boot, assessment } = appraised;
  const issuedAtSeconds = nowSeconds(context);
  const expiresAtSeconds = issuedAtSeconds + context.config.lifetimes.standingSeconds;
  const claims = earClaims({
    issuer: context.config.issuer,
    build: VERIFIER_BUILD,
    issuedAtSeconds,
    expiresAtSeconds,
    nonce,
    akId,
    resetCount: boot.resetCount,
    tpm: assessment,
  });
  return {
    boot,
    assurance: assessment.level,
    developmentPolicy: assessment.developmentPolicy,
    ear: await context.keys.signJwt('ear', EAR_TYP, { ...claims }),
    attestedAtSeconds: issuedAtSeconds,
    standingEndsAtSeconds: expiresAtSeconds,
  };
}

/** M4, and the answer to re-attestation. @throws KeydError `host_not_approved` where the record went meanwhile */
export function standingAnswer(context: IssuerContext, host: EnrolledHost): Standing {
  const approved = context.hosts.find(host.ekHash);
  if (approved === undefined) {
    throw new KeydError('host_not_approved', 'the approval of this host was withdrawn');
  }
  const { config } = context;
  return {
    akId: host.akId,
    ear: host.ear,
    assurance: host.assurance,
    ...(host.developmentPolicy === undefined ? {} : { developmentPolicy: host.developmentPolicy }),
    expiresAtSeconds: host.standingEndsAtSeconds,
    reattestAtSeconds: host.attestedAtSeconds + config.lifetimes.reattestSeconds,
    host: {
      label: approved.label,
      trustDomain: config.trustDomain,
      aauthDomain: config.aauthDomain,
      namePatterns: approved.namePatterns,
    },
  };
}
