/** What the services of the issuer share. */
import type { Logger } from '../base/logger.ts';
import type { PcrSelection } from '../wire/tpm/pcr-selection.ts';
import { ATTESTED_PCRS } from '../wire/tpm/pcr-selection.ts';
import type { ChallengeService } from './challenge-service.ts';
import type { IssuerConfig } from './config.ts';
import type { CertificateAuthority } from './credentials/certificate-authority.ts';
import type { HostRegistry } from './host-registry.ts';
import type { StatusLists } from './status-lists.ts';
import type { SigningKeys } from './signing-keys.ts';
import type { IssuerStore } from './store/issuer-store.ts';
import type { AppraisalPolicy } from './verifier/appraisal-policy.ts';

export interface IssuerContext {
  readonly config: IssuerConfig;
  readonly keys: SigningKeys;
  readonly authority: CertificateAuthority;
  readonly store: IssuerStore;
  readonly hosts: HostRegistry;
  readonly challenges: ChallengeService;
  readonly statusLists: StatusLists;
  /** As last loaded: SIGHUP reads roots and lists again. */
  readonly policy: () => AppraisalPolicy;
  readonly nowMs: () => number;
  readonly logger: Logger;
}

/** Name and version in `ear_verifier_id`. */
export const VERIFIER_BUILD = 'agentkey-issuer 0.1';

/** PCRs that every quote for this issuer covers, as the Verifier and as the wire has them. */
export const QUOTED_PCRS: PcrSelection = ATTESTED_PCRS;
export const QUOTED_PCRS_JSON = { sha256: ATTESTED_PCRS.flatMap(({ pcrs }) => pcrs) } as const;

export function nowSeconds(context: IssuerContext): number {
  return Math.floor(context.nowMs() / 1000);
}
