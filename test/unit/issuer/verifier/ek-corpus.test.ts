/** EK certificates from real chips against the pinned vendor roots. Dates are set, not today's. */
import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { findPath } from '../../../../src/issuer/verifier/certificate-path.ts';
import { Appraisal } from '../../../../src/issuer/verifier/checks.ts';
import {
  checkEkProfile,
  parseEkCertificate,
  type TpmModel,
} from '../../../../src/issuer/verifier/ek-certificate.ts';
import {
  configuredRoot,
  importRoots,
  readPemBundle,
  type EndorsementRoot,
} from '../../../../src/issuer/verifier/endorsement-roots.ts';
import { PINNED_ROOTS } from '../../../../src/issuer/verifier/vendor-roots.ts';
import { rebuildEkPublic } from '../../../../src/wire/tpm/templates.ts';
import { parseCertificate, type X509Fields } from '../../../../src/wire/x509.ts';
import { corpusFile, corpusNames, hasCorpus } from '../../../support/corpus.ts';
import { refusalOf } from '../../../support/refusal.ts';

const ROOTS = 'ekroots/tpm-ca-certificates/MIRROR.tpm-ca-certificates.pem';
const INTERMEDIATES = 'ekroots/tpm-ca-certificates/MIRROR.tpm-intermediate-ca-certificates.pem';
// All CA certificates on the paths are valid then; the leaves, sold in 2018 and 2019, need not be.
const NOW = Date.UTC(2026, 0, 1) / 1000;

const text = (path: string): string => Buffer.from(corpusFile(path)).toString('latin1');

describe.runIf(hasCorpus('ekroots') && hasCorpus('ekcerts'))('EK certificates of real chips', () => {
  let roots: readonly EndorsementRoot[];
  let refused: readonly string[];
  let intermediates: readonly X509Fields[];

  beforeAll(() => {
    ({ roots, refused } = importRoots(text(ROOTS)));
    intermediates = readPemBundle(text(INTERMEDIATES)).map((der) => parseCertificate(der));
  });

  /** Checks 3 to 5 over what a chip has in NV. */
  function judge(stored: Uint8Array): { root: string; length: number; model: TpmModel } {
    const appraisal = new Appraisal();
    const ek = appraisal.check(3, () => parseEkCertificate(stored));
    const path = appraisal.check(4, () =>
      findPath({
        leaf: ek.certificate,
        intermediates,
        roots,
        revocationLists: [],
        nowSeconds: NOW,
        expiredLeaf: 'accept',
      }),
    );
    const model = appraisal.check(5, (verdict) =>
      checkEkProfile(ek, { minimumRevision: 116, denied: [] }, verdict),
    );
    return { root: path.root.name, length: path.certificates.length, model };
  }

  it('imports every vendor root of the bundle by its fingerprint, and nothing else', () => {
    expect(refused).toEqual([]);
    expect(roots.map(({ sha256 }) => sha256).sort()).toEqual(
      PINNED_ROOTS.filter(({ kind }) => kind === 'vendor')
        .map(({ sha256 }) => sha256)
        .sort(),
    );
    for (const root of roots) {
      expect(createHash('sha256').update(root.certificate.encoded).digest('hex')).toBe(root.sha256);
    }
    const fromIntermediates = importRoots(text(INTERMEDIATES));
    expect(fromIntermediates.roots).toEqual([]);
    expect(fromIntermediates.refused).toHaveLength(intermediates.length);
  });

  it('knows Google’s vTPM roots as virtual', () => {
    for (const name of ['tpm_ek_root_1.cer', 'gcp_ek_ak_ca_root.crt']) {
      expect(configuredRoot(corpusFile('ekroots/google-vtpm', name), name).kind).toBe('virtual');
    }
  });

  it.each([
    [
      'ek-Infineon-OPTIGA-TM-ECC-Manufacturing-CA--dfd310e7.der',
      'Infineon OPTIGA(TM) ECC Root CA',
      3,
      'SLB 9670 TPM2.0',
      'L-2',
    ],
    [
      'ek-Infineon-OPTIGA-TM-RSA-Manufacturing-CA--234480e4.der',
      'Infineon OPTIGA(TM) RSA Root CA',
      3,
      'SLB 9670 TPM2.0',
      'L-1',
    ],
    ['ek-Nuvoton-TPM-Root-CA-2111-933cdb17.der', 'Nuvoton TPM Root CA 2111', 2, 'NPCT75x', 'L-1'],
    ['ek-STM-TPM-ECC-Intermediate-CA-01-85f38843.der', 'STM TPM ECC Root CA 01', 3, 'ST33HTPHAHB4', 'L-2'],
    ['ek-STM-TPM-EK-Intermediate-CA-05-73ffb9ae.der', 'STM TPM EK Root CA', 3, 'ST33HTPHAHB4', 'L-1'],
    [
      'ek-STM-TPM-EK-Intermediate-CA-05-73ffb9ae.nvpadded.bin',
      'STM TPM EK Root CA',
      3,
      'ST33HTPHAHB4',
      'L-1',
    ],
  ] as const)('%s chains to %s', (file, root, length, model, template) => {
    const stored = corpusFile('ekcerts/keylime', file);
    const judged = judge(stored);
    expect(judged).toMatchObject({ root, length, model: { model, family: '2.0' } });
    // Its EK can be rebuilt from the template, so check 6 has something to compare.
    expect(rebuildEkPublic(template, parseEkCertificate(stored).publicKey).length).toBeGreaterThan(100);
  });

  it('refuses CA certificates as EK certificates', () => {
    const cas = corpusNames('ekcerts/keylime').filter((name) => name.startsWith('ca-Infineon'));
    expect(cas).toHaveLength(9);
    for (const name of cas) {
      expect(
        refusalOf(() => judge(corpusFile('ekcerts/keylime', name))),
        name,
      ).toBe(
        'evidence_invalid: check 5 (EK certificate profile): it is the certificate of a CA, not of an EK',
      );
    }
  });

  it('refuses what no pinned root issued: swtpm’s local CA, Nationz, Intel’s older CA, the TCG’s examples', () => {
    const strangers = [
      ['ekcerts/keylime', 'ek-swtpm-localca-3a888ace.der', 'swtpm-localca'],
      ['ekcerts/keylime', 'ca-Nationz-TPM-Root-CA-44afc4b6.der', 'Nationz TPM Root CA'],
      ['ekcerts/keylime', 'ca-www-intel-com-e365738e.der', 'www.intel.com'],
      ['ekcerts/tcg-examples', 'tcg-example-user-device.der', 'ExampleCA'],
      ['ekcerts/tcg-examples', 'tcg-example-nonuser-device.der', 'ExampleCA'],
    ] as const;
    for (const [folder, name, issuer] of strangers) {
      const refusal = refusalOf(() => judge(corpusFile(folder, name)));
      expect(refusal).toMatch(/^evidence_invalid: check 4 .*no path to a pinned root/);
      expect(refusal).toContain(`its issuer is "${issuer}"`);
    }
  });

  it('refuses the TCG’s examples for their revision too', () => {
    const ek = parseEkCertificate(corpusFile('ekcerts/tcg-examples', 'tcg-example-user-device.der'));
    const refusal = refusalOf(() =>
      new Appraisal().check(5, (verdict) =>
        checkEkProfile(ek, { minimumRevision: 116, denied: [] }, verdict),
      ),
    );
    expect(refusal).toMatch(/^appraisal_denied: check 5 .*revision 99/);
  });

  it('refuses a real certificate cut at any offset', () => {
    const stored = corpusFile('ekcerts/keylime', 'ek-STM-TPM-ECC-Intermediate-CA-01-85f38843.der');
    for (let length = 0; length < stored.length; length++) {
      expect(refusalOf(() => judge(stored.subarray(0, length)))).toMatch(/^evidence_invalid: check 3 /);
    }
  });

  it('refuses a real certificate with any one octet changed', () => {
    const stored = corpusFile('ekcerts/keylime', 'ek-Nuvoton-TPM-Root-CA-2111-933cdb17.der');
    for (let at = 0; at < stored.length; at++) {
      const changed = Uint8Array.from(stored, (octet, index) => (index === at ? octet ^ 1 : octet));
      expect(
        refusalOf(() => judge(changed)),
        `octet ${at}`,
      ).toMatch(/^evidence_invalid: check [345] /);
    }
  });
});
