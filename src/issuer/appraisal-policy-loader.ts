/** From configuration and its files to the Verifier's Appraisal Policy. */
import { existsSync, readFileSync } from 'node:fs';
import { KeydError } from '../wire/problem.ts';
import { parseCertificate } from '../wire/x509.ts';
import type { IssuerConfig } from './config.ts';
import type { AppraisalPolicy } from './verifier/appraisal-policy.ts';
import {
  configuredRoot,
  fingerprint,
  importRoots,
  readPemBundle,
  type EndorsementRoot,
} from './verifier/endorsement-roots.ts';
import { parseRevocationList } from './verifier/revocation-list.ts';

/** 1.16: the first revision that chips were widely certified for. */
const DEFAULT_MINIMUM_REVISION = 116;

/** @throws KeydError `configuration_invalid` for a file that is missing or damaged, or where there is no root */
export function loadAppraisalPolicy(config: IssuerConfig): AppraisalPolicy {
  const { appraisal, developmentPolicy } = config;
  const roots = [
    ...(appraisal.roots_file === undefined ? [] : pinnedRoots(appraisal.roots_file)),
    ...(developmentPolicy?.testRootsFile === undefined ? [] : testRoots(developmentPolicy.testRootsFile)),
  ];
  if (roots.length === 0) {
    throw new KeydError(
      'configuration_invalid',
      'no endorsement root is configured, so no TPM could enrol; run "agentkey-issuer roots import BUNDLE" and set appraisal.roots_file',
    );
  }
  return {
    id: appraisal.policy,
    roots,
    intermediates:
      appraisal.intermediates_file === undefined
        ? []
        : readBundle(appraisal.intermediates_file).map((der) => parseCertificate(der, 'intermediate')),
    revocationLists: (appraisal.revocation_list_files ?? []).map((file) =>
      parseRevocationList(readOctets(file)),
    ),
    expiredEkCertificate: appraisal.expired_ek_certificate,
    models: {
      minimumRevision: appraisal.minimum_tpm_revision ?? DEFAULT_MINIMUM_REVISION,
      denied: appraisal.denied_models ?? [],
    },
    firmwareFloors: (appraisal.firmware_floors ?? []).map(({ minimum, ...floor }) => ({
      ...floor,
      minimum: BigInt(minimum),
    })),
    keyTypes: appraisal.key_types ?? ['P-256', 'P-384'],
    // Keys are used by their auth value; policies on keys come with the policy issue.
    keyAuthPolicies: [new Uint8Array()],
    clearedTpm: appraisal.cleared_tpm,
    development: developmentPolicy === undefined ? undefined : { name: developmentPolicy.name },
  };
}

/** Certificates that vouch for chips: only those whose fingerprint the project ships. */
function pinnedRoots(file: string): readonly EndorsementRoot[] {
  // Written by `roots import`; before that, no vendor's chip can enrol, and development roots may be all there are.
  if (!existsSync(file)) return [];
  const { roots, refused } = importRoots(readText(file));
  if (refused.length > 0) {
    throw new KeydError(
      'configuration_invalid',
      `${file} holds certificates that no pinned fingerprint vouches for: ${refused.join(', ')}`,
    );
  }
  return roots;
}

function testRoots(file: string): readonly EndorsementRoot[] {
  return readBundle(file).map((der) => configuredRoot(der, `test root ${fingerprint(der).slice(0, 16)}`));
}

function readBundle(file: string): readonly Uint8Array[] {
  return readPemBundle(readText(file));
}

function readText(file: string): string {
  return Buffer.from(readOctets(file)).toString('utf8');
}

function readOctets(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${file} can not be read`, { cause });
  }
}
