/** From checked Evidence to what is said about a key: assurance level, trustworthiness, and who let it through. */
import type { AssuranceLevel } from '../../wire/assurance.ts';
import { KeydError } from '../../wire/problem.ts';
import type { AppraisalPolicy } from './appraisal-policy.ts';
import type { Endorsement } from './endorsement.ts';
import type { RegisteredToken } from './host-policy.ts';
import { tierOf, TRUST, type TrustTier, type TrustworthinessVector } from './trustworthiness.ts';

export interface Assessment {
  readonly level: AssuranceLevel;
  /** A cloud provider's virtual TPM. */
  readonly virtual: boolean;
  readonly vector: TrustworthinessVector;
  readonly tier: TrustTier;
  readonly policyIds: readonly string[];
  /** Name of the development policy that let a contraindicated host or token through. */
  readonly developmentPolicy: string | undefined;
}

const SOFTWARE: TrustworthinessVector = {
  hardware: TRUST.unrecognizedHardware,
  'storage-opaque': TRUST.softwareKeys,
};

/**
 * A TPM that passed the checks. No log policy is built (checks 23 to 25), so nothing is claimed about
 * configuration or executables and the level is `hw-key` at best.
 * @throws KeydError `appraisal_denied` for a software TPM without a development policy
 */
export function assessTpm(endorsement: Endorsement, policy: AppraisalPolicy): Assessment {
  if (endorsement.kind === 'test') {
    return software({ 'instance-identity': TRUST.recognizedInstance, ...SOFTWARE }, policy);
  }
  const vector = {
    'instance-identity': TRUST.recognizedInstance,
    hardware: TRUST.genuineHardware,
    'storage-opaque': TRUST.hardwareKeys,
  };
  return {
    level: 'hw-key',
    virtual: endorsement.kind === 'virtual',
    vector,
    tier: tierOf(vector),
    policyIds: [policy.id],
    developmentPolicy: undefined,
  };
}

/**
 * A key in a token that the operator registered: nothing proves where it lives, so nothing is claimed. SoftHSM
 * is software whatever its flags say, and so is a token that a software host vouches for.
 * @param host assessment of the host whose word it is that the key is in this token
 * @throws KeydError `appraisal_denied` for SoftHSM without a development policy
 */
export function assessToken(token: RegisteredToken, host: Assessment, policy: AppraisalPolicy): Assessment {
  if (/^softhsm/i.test(token.manufacturer) || host.level === 'software') return software(SOFTWARE, policy);
  return {
    level: 'asserted',
    virtual: false,
    vector: {},
    tier: 'none',
    policyIds: [policy.id],
    developmentPolicy: undefined,
  };
}

/** URN under which a development policy is named in Attestation Results. */
export function developmentPolicyId(name: string): string {
  return `urn:agentkeyd:policy:development:${name}`;
}

function software(vector: TrustworthinessVector, policy: AppraisalPolicy): Assessment {
  const { development } = policy;
  if (development === undefined) {
    throw new KeydError(
      'appraisal_denied',
      'the key is held by software, and no development policy accepts that',
    );
  }
  return {
    level: 'software',
    virtual: false,
    vector,
    tier: tierOf(vector),
    policyIds: [policy.id, developmentPolicyId(development.name)],
    developmentPolicy: development.name,
  };
}
