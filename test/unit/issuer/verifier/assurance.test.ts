import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assessToken, assessTpm } from '../../../../src/issuer/verifier/assurance.ts';
import { earClaims, type EarInput } from '../../../../src/issuer/verifier/ear.ts';
import { endorsementOf } from '../../../../src/issuer/verifier/endorsement.ts';
import { tierOf, worstTier } from '../../../../src/issuer/verifier/trustworthiness.ts';
import { CORPUS, hasCorpus } from '../../../support/corpus.ts';
import { refusalOf } from '../../../support/refusal.ts';
import { ENDORSEMENT, vendorPolicy, vendorRoot } from './posed-scenario.ts';

const development = { ...vendorPolicy, development: { name: 'lab' } };
const test = { ...ENDORSEMENT, kind: 'test' as const };
const softHsm = { manufacturer: 'SoftHSM project', model: 'SoftHSM v2', serial: '0123456789abcdef' };
const realHsm = { manufacturer: 'ACME', model: 'HSM 1', serial: '42' };

describe('assurance of a TPM', () => {
  it('is hw-key and affirming with a vendor’s root, and never hw-platform without a log policy', () => {
    expect(assessTpm(ENDORSEMENT, vendorPolicy)).toEqual({
      level: 'hw-key',
      virtual: false,
      vector: { 'instance-identity': 2, hardware: 2, 'storage-opaque': 2 },
      tier: 'affirming',
      policyIds: ['urn:example:policy:1'],
      developmentPolicy: undefined,
    });
  });

  it('says virtual for a cloud provider’s TPM', () => {
    const assessment = assessTpm({ ...ENDORSEMENT, kind: 'virtual' }, vendorPolicy);
    expect(assessment).toMatchObject({ level: 'hw-key', virtual: true, tier: 'affirming' });
  });

  it('is software and contraindicated with a test root; only a named development policy lets it through', () => {
    expect(refusalOf(() => assessTpm(test, vendorPolicy))).toMatch(/^appraisal_denied: .*software/);
    expect(assessTpm(test, development)).toEqual({
      level: 'software',
      virtual: false,
      vector: { 'instance-identity': 2, hardware: 97, 'storage-opaque': 32 },
      tier: 'contraindicated',
      policyIds: ['urn:example:policy:1', 'urn:agentkeyd:policy:development:lab'],
      developmentPolicy: 'lab',
    });
  });

  it('does not raise a real TPM’s assessment, nor lower it, because a development policy is configured', () => {
    expect(assessTpm(ENDORSEMENT, development)).toEqual(assessTpm(ENDORSEMENT, vendorPolicy));
  });

  it('takes swtpm for software even where a vendor’s root signed its certificate', () => {
    const swtpm = { ...ENDORSEMENT.tpm, manufacturer: 'id:00001014', model: 'swtpm' };
    const path = { root: vendorRoot, certificates: [vendorRoot.certificate] };
    expect(endorsementOf(path, swtpm).kind).toBe('test');
    expect(endorsementOf(path, ENDORSEMENT.tpm).kind).toBe('vendor');
  });
});

const genuine = () => assessTpm(ENDORSEMENT, vendorPolicy);

describe('assurance of a token', () => {
  it('is asserted without any claim for a registered token', () => {
    const assessment = assessToken(realHsm, genuine(), vendorPolicy);
    expect(assessment).toMatchObject({ level: 'asserted', vector: {}, tier: 'none' });
    expect(assessment.developmentPolicy).toBeUndefined();
  });

  it('is never stronger than the host that vouches for it', () => {
    const host = assessTpm(test, development);
    expect(assessToken(realHsm, host, development)).toMatchObject({
      level: 'software',
      developmentPolicy: 'lab',
    });
  });

  it('is software for SoftHSM, however it spells itself', () => {
    for (const manufacturer of ['SoftHSM project', 'softhsm', 'SOFTHSM2']) {
      const token = { ...softHsm, manufacturer };
      expect(refusalOf(() => assessToken(token, genuine(), vendorPolicy))).toMatch(/^appraisal_denied/);
      expect(assessToken(token, genuine(), development)).toMatchObject({
        level: 'software',
        tier: 'contraindicated',
      });
    }
  });
});

describe('trustworthiness tiers', () => {
  it('are those of AR4SI, the worst claim deciding', () => {
    expect(tierOf({})).toBe('none');
    expect(tierOf({ hardware: 0 })).toBe('none');
    expect(tierOf({ hardware: -1 })).toBe('none');
    expect(tierOf({ hardware: 2 })).toBe('affirming');
    expect(tierOf({ hardware: 31 })).toBe('affirming');
    expect(tierOf({ hardware: 32 })).toBe('warning');
    expect(tierOf({ hardware: 95 })).toBe('warning');
    expect(tierOf({ hardware: 96 })).toBe('contraindicated');
    expect(tierOf({ hardware: 2, 'storage-opaque': 32 })).toBe('warning');
    expect(worstTier(['affirming', 'contraindicated', 'none'])).toBe('contraindicated');
    expect(worstTier(['affirming', 'none'])).toBe('none');
  });
});

describe('Attestation Results', () => {
  const base: EarInput = {
    issuer: 'https://issuer.example',
    build: 'agentkey-issuer 0.1.0',
    issuedAtSeconds: 1_700_000_000,
    expiresAtSeconds: 1_700_003_600,
    nonce: 'bm9uY2U',
    akId: `000b${'ab'.repeat(32)}`,
    resetCount: 7,
    tpm: assessTpm(ENDORSEMENT, vendorPolicy),
  };

  it('have the members of EAR, and no claim that was not judged', () => {
    expect(earClaims(base)).toEqual({
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      iss: 'https://issuer.example',
      iat: 1_700_000_000,
      exp: 1_700_003_600,
      eat_nonce: 'bm9uY2U',
      ear_verifier_id: { developer: 'https://issuer.example', build: 'agentkey-issuer 0.1.0' },
      ear_status: 'affirming',
      submods: {
        tpm: {
          ear_status: 'affirming',
          ear_appraisal_policy_ids: ['urn:example:policy:1'],
          ear_trustworthiness_vector: { 'instance-identity': 2, hardware: 2, 'storage-opaque': 2 },
        },
      },
      'urn:agentkeyd:attestation': {
        level: 'hw-key',
        akId: base.akId,
        resetCount: 7,
        policy: 'urn:example:policy:1',
      },
    });
  });

  it('S14: bind the key they are about, and take the status of the worst submodule', () => {
    const key = { assessment: assessToken(softHsm, genuine(), development), thumbprint: 't'.repeat(43) };
    const claims = earClaims({ ...base, key });
    expect(claims.cnf).toEqual({ jkt: key.thumbprint });
    expect(claims.ear_status).toBe('contraindicated');
    expect(claims.submods['key']?.ear_status).toBe('contraindicated');
    expect(claims.submods['tpm']?.ear_status).toBe('affirming');
    expect(claims['urn:agentkeyd:attestation']).toMatchObject({
      level: 'software',
      developmentPolicy: 'lab',
    });
  });

  it.runIf(hasCorpus('ear'))('use the claim names of the draft’s own examples', () => {
    const example = readFileSync(join(CORPUS, 'ear/ear-json-1.diag'), 'utf8');
    const claims = earClaims(base);
    const drafted = ['eat_profile', 'iat', 'ear_verifier_id', 'submods'];
    for (const name of drafted) {
      expect(example).toContain(`"${name}"`);
      expect(Object.keys(claims)).toContain(name);
    }
    const members = Object.keys(claims.submods['tpm'] ?? {});
    expect(members).toHaveLength(3);
    for (const name of members) expect(example).toContain(`"${name}"`);
  });
});
