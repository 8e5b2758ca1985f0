/** Certificate policies and other names of what the issuer issues; the claims of tokens are in credential-claims.ts. */
import type { AssuranceLevel } from '../assurance.ts';

/** Arc 2.25.<UUID> (X.667) of this project; a private enterprise number may replace it in a later profile. */
const ARC = '2.25.202303659984862841979340505506734563878';

/** Certificate policies: one of the levels is in every leaf certificate. */
export const LEVEL_POLICY_OID: Readonly<Record<AssuranceLevel, string>> = {
  'hw-platform': `${ARC}.1.1`,
  'hw-key': `${ARC}.1.2`,
  asserted: `${ARC}.1.3`,
  software: `${ARC}.1.4`,
};
/** Beside the level: issued under a development policy. */
export const DEVELOPMENT_POLICY_OID = `${ARC}.2.1`;
/** Beside the level: the TPM is virtual. */
export const VIRTUAL_TPM_POLICY_OID = `${ARC}.2.2`;
/** TCG: verified TPM residency, and fixed to that TPM (fixedTPM). */
export const TPM_RESIDENCY_OID = '2.23.133.11.1.1';
export const TPM_FIXED_OID = '2.23.133.11.1.2';
