/** An operator, a vendor and an approved host for tests without a TPM. */
import { randomBytes } from 'node:crypto';
import type { AppraisalPolicy } from '../../../../src/issuer/verifier/appraisal-policy.ts';
import type { ConsumedChallenge } from '../../../../src/issuer/verifier/consumed-challenge.ts';
import { configuredRoot, type EndorsementRoot } from '../../../../src/issuer/verifier/endorsement-roots.ts';
import type { Endorsement } from '../../../../src/issuer/verifier/endorsement.ts';
import type { HostRecord } from '../../../../src/issuer/verifier/host-policy.ts';
import type { ChallengeClaims } from '../../../../src/wire/issuance/challenge.ts';
import type { CredentialRequest } from '../../../../src/wire/issuance/issue.ts';
import {
  basicConstraintsOf,
  commonName,
  ecKeyPair,
  keyUsageOf,
  mintCertificate,
  spkiOf,
} from '../../../support/certificates.ts';
import { consumedChallenge } from '../../../support/consumed-challenge.ts';

export const NOW = Date.UTC(2026, 0, 1) / 1000;
export const EXPORTER: Uint8Array = randomBytes(32);

const rootKeys = ecKeyPair();
const rootName = commonName('Vendor Root');

/** A root that stands for a vendor's: its kind is set here, not by a pinned fingerprint. */
export const vendorRoot: EndorsementRoot = {
  ...configuredRoot(
    mintCertificate({
      subject: rootName,
      issuer: rootName,
      spki: spkiOf(rootKeys.publicKey),
      extensions: [basicConstraintsOf(true), keyUsageOf(5, 6)],
      signer: rootKeys.privateKey,
    }),
    'Vendor Root',
  ),
  kind: 'vendor',
};

export const vendorPolicy: AppraisalPolicy = {
  id: 'urn:example:policy:1',
  roots: [vendorRoot],
  intermediates: [],
  revocationLists: [],
  expiredEkCertificate: 'refuse',
  models: { minimumRevision: 116, denied: [] },
  firmwareFloors: [],
  keyTypes: ['P-256', 'P-384'],
  keyAuthPolicies: [new Uint8Array()],
  clearedTpm: 'refuse',
  development: undefined,
};

export const ENDORSEMENT: Endorsement = {
  kind: 'vendor',
  vendor: 'Vendor',
  rootName: vendorRoot.name,
  rootSha256: vendorRoot.sha256,
  ekCertificateSha256: '11'.repeat(32),
  tpm: {
    manufacturer: 'id:56454E44',
    model: 'CHIP',
    version: 'id:00010002',
    family: '2.0',
    level: 0,
    revision: 138,
  },
};

export const hostRecord: HostRecord = {
  ekHash: '22'.repeat(32),
  label: 'node-1',
  namePatterns: ['pay-*'],
  principal: 'ops@example.org',
  maxTtlSeconds: 3600,
  profiles: ['x509', 'wit'],
  tokens: [],
  maxIssuancesPerHour: 100,
};

export const REQUEST: CredentialRequest = {
  agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
  name: 'pay-1',
  creds: ['x509', 'wit'],
  ttlSeconds: 3600,
};

export function challengeFor(op: ChallengeClaims['op'], subject: string): ConsumedChallenge {
  return consumedChallenge(op, subject, NOW);
}
