/** The Endorsement of an EK, as kept with a host, and whether the present policy still takes it (checks 4, 5). */
import type { AppraisalPolicy } from './appraisal-policy.ts';
import type { CertificatePath } from './certificate-path.ts';
import type { Appraisal } from './checks.ts';
import { judgeTpmModel, type TpmModel } from './ek-certificate.ts';
import { fingerprint, type EndorsementKind } from './endorsement-roots.ts';

export interface Endorsement {
  readonly kind: EndorsementKind;
  readonly vendor: string;
  readonly rootName: string;
  /** SHA-256 of the root's DER, lower-case hex. */
  readonly rootSha256: string;
  /** SHA-256 of the EK certificate's DER, lower-case hex. */
  readonly ekCertificateSha256: string;
  readonly tpm: TpmModel;
}

/** libtpms under swtpm_localca: manufacturer IBM, model swtpm. Software whoever signs its certificate. */
const SWTPM = { manufacturer: 'id:00001014', model: 'swtpm' } as const;

export function endorsementOf(path: CertificatePath, tpm: TpmModel): Endorsement {
  const [leaf] = path.certificates;
  const { kind, vendor, name, sha256 } = path.root;
  return {
    kind: tpm.manufacturer === SWTPM.manufacturer && tpm.model === SWTPM.model ? 'test' : kind,
    vendor,
    rootName: name,
    rootSha256: sha256,
    ekCertificateSha256: leaf === undefined ? '' : fingerprint(leaf.encoded),
    tpm,
  };
}

/** Checks 4 and 5 for a host that is enrolled: a root or model that was struck off ends its standing. */
export function judgeEndorsement(
  appraisal: Appraisal,
  endorsement: Endorsement,
  policy: AppraisalPolicy,
): void {
  appraisal.check(4, (verdict) => {
    if (!policy.roots.some(({ sha256 }) => sha256 === endorsement.rootSha256)) {
      verdict.deny(`the root ${JSON.stringify(endorsement.rootName)} is no longer trusted`);
    }
    if (endorsement.kind === 'test' && policy.development === undefined) verdict.deny(TEST_ROOT);
  });
  appraisal.check(5, (verdict) => {
    judgeTpmModel(endorsement.tpm, policy.models, verdict);
  });
}

export const TEST_ROOT =
  'the TPM is software or endorsed by a test root, and no development policy is configured that accepts it';
