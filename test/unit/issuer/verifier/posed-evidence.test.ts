/** Lies that no TPM makes: a software key stands where the AK stood after enrolment, and writes what it likes. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { AppraisalPolicy } from '../../../../src/issuer/verifier/appraisal-policy.ts';
import { appraiseKey, type KeyAppraisalInput } from '../../../../src/issuer/verifier/appraise-key.ts';
import { appraiseReattestation } from '../../../../src/issuer/verifier/appraise-reattestation.ts';
import type { HostStanding } from '../../../../src/issuer/verifier/host-standing.ts';
import { attestedData } from '../../../../src/wire/attested-data.ts';
import { issueBound } from '../../../../src/wire/issuance/issue.ts';
import { reattestationBound } from '../../../../src/wire/issuance/reattestation.ts';
import type { CertifyAttest, ClockInfo } from '../../../../src/wire/tpm/attest.ts';
import { TPM_RH } from '../../../../src/wire/tpm/constants.ts';
import { primaryQualifiedName, publicAreaName } from '../../../../src/wire/tpm/name.ts';
import { ATTESTED_PCRS } from '../../../../src/wire/tpm/pcr-selection.ts';
import { serializeSignature } from '../../../../src/wire/tpm/signature.ts';
import { makeSoftwareCsr } from '../../../support/certificates.ts';
import {
  POSED_CLOCK,
  POSED_FIRMWARE,
  posedCertify,
  posedPcrs,
  posedQuote,
  posingAgentKey,
  posingAk,
  posingSignature,
  type PosingKey,
} from '../../../support/posing-tpm.ts';
import { refusalOf } from '../../../support/refusal.ts';
import {
  challengeFor,
  ENDORSEMENT,
  EXPORTER,
  hostRecord,
  NOW,
  REQUEST,
  vendorPolicy,
} from './posed-scenario.ts';

const ak = posingAk();
const agent = posingAgentKey();
const csr = makeSoftwareCsr(agent);
const bound = issueBound(REQUEST, agent.publicArea, csr);

const standing: HostStanding = {
  akId: Buffer.from(publicAreaName(ak.publicArea)).toString('hex'),
  akPublic: ak.publicArea,
  ekHash: hostRecord.ekHash,
  endorsement: ENDORSEMENT,
  boot: { ...POSED_CLOCK, firmwareVersion: POSED_FIRMWARE },
  logs: { nvPublic: undefined, witness: undefined },
};
const challenge = challengeFor('issue', standing.akId);
const certifyData = attestedData('issue-certify', challenge.jws, bound, EXPORTER);
const quoteData = attestedData('issue-quote', challenge.jws, bound, EXPORTER);

interface Lie {
  readonly attest?: Uint8Array;
  readonly sig?: Uint8Array;
  readonly signer?: PosingKey;
  readonly standing?: HostStanding;
  readonly policy?: AppraisalPolicy;
}

function issue(lie: Lie): KeyAppraisalInput {
  const attest = lie.attest ?? posedCertify(ak, agent.publicArea, certifyData);
  const sig = lie.sig ?? posingSignature(lie.signer ?? ak, attest);
  return {
    standing: lie.standing ?? standing,
    standingExpiresAtSeconds: NOW + 60,
    host: hostRecord,
    policy: lie.policy ?? vendorPolicy,
    request: REQUEST,
    issue: {
      session: challenge.claims.session,
      tpmKey: { public: agent.publicArea, certify: { attest, sig } },
      csr,
    },
    quote: 'reuse',
    pcrSelection: ATTESTED_PCRS,
    challenge,
    exporter: EXPORTER,
    issuedInLastHour: 0,
    subAgents: undefined,
    nowSeconds: NOW,
  };
}

const refusal = (lie: Lie): string => refusalOf(() => appraiseKey(issue(lie)));
const certified = (change: Partial<CertifyAttest>): string =>
  refusal({ attest: posedCertify(ak, agent.publicArea, certifyData, change) });
/** A well-formed Certify with octets `at` replaced, signed again. */
const patched = (at: number, ...octets: readonly number[]): string => {
  const attest = Uint8Array.from(posedCertify(ak, agent.publicArea, certifyData));
  attest.set(octets, at);
  return refusal({ attest });
};

describe('what a posing AK may write', () => {
  it('is accepted only in the honest form: each lie below is its own reason', () => {
    const result = appraiseKey(issue({}));
    expect(result.key).toMatchObject({ level: 'hw-key', tier: 'affirming', developmentPolicy: undefined });
  });

  it('check 11: a signature by another key, by another scheme, and over other octets', () => {
    expect(refusal({ signer: agent })).toMatch(/^evidence_invalid: check 11 /);
    expect(refusal({ sig: posingSignature(ak, certifyData) })).toMatch(/^evidence_invalid: check 11 /);
    const [r, s] = [randomBytes(32), randomBytes(32)];
    const sha1 = serializeSignature({ scheme: 'ecdsa', hash: 'sha1', r, s });
    expect(refusal({ sig: sha1 })).toMatch(/check 11 .*ecdsa-sha1, the key signs ecdsa-sha256/);
    const rsa = serializeSignature({ scheme: 'rsassa', hash: 'sha256', signature: randomBytes(256) });
    expect(refusal({ sig: rsa })).toMatch(/check 11 .*rsassa/);
    const zero = serializeSignature({
      scheme: 'ecdsa',
      hash: 'sha256',
      r: new Uint8Array(32),
      s: new Uint8Array(32),
    });
    expect(refusal({ sig: zero })).toMatch(/^evidence_invalid: check 11 /);
  });

  it('check 12: octets that no TPM made, though the AK signed them', () => {
    expect(patched(0, 0xff, 0x54, 0x43, 0x48)).toMatch(/^evidence_invalid: check 12 .*0xff544348/);
    expect(patched(0, 0, 0, 0, 0)).toMatch(/^evidence_invalid: check 12 /);
    expect(refusal({ attest: Buffer.from('GET / HTTP/1.1') })).toMatch(/^evidence_invalid: check 12 /);
    expect(refusal({ attest: new Uint8Array([0xff]) })).toMatch(/^evidence_invalid: check 12 /);
  });

  it('check 13: every type but Certify, and a Certify that is cut or too long', () => {
    for (const type of [0x8014, 0x8016, 0x8018, 0x8019, 0x801a, 0x801c, 0x0000]) {
      expect(patched(4, type >> 8, type & 0xff)).toMatch(/^evidence_invalid: check 13 /);
    }
    const honest = posedCertify(ak, agent.publicArea, certifyData);
    for (let length = 6; length < honest.length; length++) {
      expect(refusal({ attest: honest.subarray(0, length) })).toMatch(/^evidence_invalid: check 13 /);
    }
    expect(refusal({ attest: Buffer.concat([honest, Buffer.from([0])]) })).toMatch(
      /^evidence_invalid: check 13 /,
    );
  });

  it('check 14: S9: extraData of another operation, challenge, request, of nothing, or a prefix of the right one', () => {
    const wrong = [
      quoteData,
      attestedData('audit', challenge.jws, bound, EXPORTER),
      attestedData('issue-certify', `${challenge.jws}x`, bound, EXPORTER),
      attestedData('issue-certify', challenge.jws, bound, undefined),
      new Uint8Array(),
      certifyData.subarray(0, 31),
    ];
    for (const extraData of wrong) expect(certified({ extraData })).toMatch(/^evidence_invalid: check 14 /);
  });

  it('S9: a proxied challenge binds zeros and takes no exporter, so that no side can choose', () => {
    const proxied = { ...challenge, claims: { ...challenge.claims, channel: 'proxied' as const } };
    const zeros = attestedData('issue-certify', challenge.jws, bound, undefined);
    const attest = posedCertify(ak, agent.publicArea, zeros);
    const input = { ...issue({ attest }), challenge: proxied };
    expect(refusalOf(() => appraiseKey(input))).toBe('accepted');
    expect(refusalOf(() => appraiseKey({ ...issue({}), challenge: proxied }))).toMatch(/check 14 /);
  });

  it('check 15: the same key in the owner or null hierarchy, its bare Name, and nothing', () => {
    const name = publicAreaName(ak.publicArea);
    const signers = [
      primaryQualifiedName(TPM_RH.OWNER, name),
      primaryQualifiedName(TPM_RH.NULL, name),
      primaryQualifiedName(TPM_RH.PLATFORM, name),
      name,
      new Uint8Array(),
    ];
    for (const qualifiedSigner of signers) {
      expect(certified({ qualifiedSigner })).toMatch(/^evidence_invalid: check 15 /);
    }
  });

  it('check 16: the Name of another key, and a digest without its algorithm', () => {
    const name = publicAreaName(agent.publicArea);
    for (const wrong of [publicAreaName(ak.publicArea), name.subarray(2), new Uint8Array()]) {
      expect(certified({ name: wrong })).toMatch(/^evidence_invalid: check 16 /);
    }
  });

  it('check 17: an agent key whose scheme is not of its curve', () => {
    const odd = posingAgentKey({ scheme: { scheme: 'ecdsa', hash: 'sha512' } });
    const oddCsr = makeSoftwareCsr(odd);
    const data = attestedData(
      'issue-certify',
      challenge.jws,
      issueBound(REQUEST, odd.publicArea, oddCsr),
      EXPORTER,
    );
    const attest = posedCertify(ak, odd.publicArea, data);
    const tpmKey = { public: odd.publicArea, certify: { attest, sig: posingSignature(ak, attest) } };
    const base = issue({});
    expect(refusalOf(() => appraiseKey({ ...base, issue: { ...base.issue, csr: oddCsr, tpmKey } }))).toMatch(
      /^evidence_invalid: check 17 .*sha512/,
    );
  });

  it('check 17: an agent key that is no point on its curve', () => {
    const broken = posingAgentKey({ x: new Uint8Array(32).fill(1), y: new Uint8Array(32).fill(2) });
    const data = attestedData(
      'issue-certify',
      challenge.jws,
      issueBound(REQUEST, broken.publicArea, csr),
      EXPORTER,
    );
    const attest = posedCertify(ak, broken.publicArea, data);
    const tpmKey = { public: broken.publicArea, certify: { attest, sig: posingSignature(ak, attest) } };
    const base = issue({});
    expect(refusalOf(() => appraiseKey({ ...base, issue: { ...base.issue, tpmKey } }))).toMatch(
      /^evidence_invalid: check 17 /,
    );
  });

  it('check 20: firmware below the floor of its maker; another maker’s floor does not count', () => {
    const floor = (manufacturer: string, minimum: bigint): AppraisalPolicy => ({
      ...vendorPolicy,
      firmwareFloors: [{ manufacturer, minimum }],
    });
    const { manufacturer } = ENDORSEMENT.tpm;
    expect(refusal({ policy: floor(manufacturer, POSED_FIRMWARE + 1n) })).toMatch(
      /^appraisal_denied: check 20 /,
    );
    expect(refusal({ policy: floor(manufacturer, POSED_FIRMWARE) })).toBe('accepted');
    expect(refusal({ policy: floor('id:FFFFFFFF', POSED_FIRMWARE + 1n) })).toBe('accepted');
  });
});

describe('check 19: one boot, never an older one', () => {
  const clocked = (clockInfo: Partial<ClockInfo>): string =>
    certified({ clockInfo: { ...POSED_CLOCK, ...clockInfo } });

  it('a key certified before or after the boot of the standing', () => {
    expect(clocked({ resetCount: POSED_CLOCK.resetCount + 1 })).toMatch(/check 19 .*restarted since/);
    expect(clocked({ restartCount: POSED_CLOCK.restartCount + 1 })).toMatch(/check 19 .*restarted since/);
    expect(clocked({ resetCount: POSED_CLOCK.resetCount - 1 })).toMatch(/check 19 .*resetCount went back/);
    expect(clocked({ restartCount: 0 })).toMatch(/check 19 .*restartCount went back/);
    expect(clocked({ resetCount: 0, restartCount: 0, clock: 5n })).toMatch(/check 19 .*cleared/);
  });

  it('a clock that went back, unless it is not safe', () => {
    const stored = { ...standing, boot: { ...standing.boot, clock: POSED_CLOCK.clock + 1n } };
    expect(refusal({ standing: stored })).toMatch(/^evidence_invalid: check 19 .*clock went back/);
    const unsafe = posedCertify(ak, agent.publicArea, certifyData, {
      clockInfo: { ...POSED_CLOCK, safe: false },
    });
    expect(refusal({ standing: stored, attest: unsafe })).toBe('accepted');
    const unsafeBefore = { ...standing, boot: { ...stored.boot, safe: false } };
    expect(refusal({ standing: unsafeBefore })).toBe('accepted');
  });

  it('Certify of one boot spliced to the quote of another, and of another firmware', () => {
    const values = posedPcrs(ATTESTED_PCRS);
    const spliced = (change: Parameters<typeof posedQuote>[4]): string => {
      const attest = posedQuote(ak, ATTESTED_PCRS, values, quoteData, change);
      const base = issue({});
      const quote = { attest, sig: posingSignature(ak, attest), pcrs: values };
      return refusalOf(() => appraiseKey({ ...base, quote: 'required', issue: { ...base.issue, quote } }));
    };
    expect(spliced({})).toBe('accepted');
    const later = { ...POSED_CLOCK, resetCount: POSED_CLOCK.resetCount + 1, restartCount: 0 };
    expect(spliced({ clockInfo: later })).toMatch(/^evidence_invalid: check 19 .*different boots/);
    expect(spliced({ firmwareVersion: 1n })).toMatch(/^evidence_invalid: check 19 .*different firmware/);
    expect(spliced({ pcrDigest: new Uint8Array(32) })).toMatch(/^evidence_invalid: check 22 /);
    expect(spliced({ pcrSelection: [] })).toMatch(/^evidence_invalid: check 21 /);
  });

  it('a re-attestation of an earlier life is a rollback; a later boot is not', () => {
    const requote = challengeFor('reattest', standing.akId);
    const { session } = requote.claims;
    const data = attestedData('reattest', requote.jws, reattestationBound(standing.akId, session), EXPORTER);
    const values = posedPcrs(ATTESTED_PCRS);
    const reattest = (clockInfo: Partial<ClockInfo>): string => {
      const attest = posedQuote(ak, ATTESTED_PCRS, values, data, {
        clockInfo: { ...POSED_CLOCK, ...clockInfo },
      });
      return refusalOf(() =>
        appraiseReattestation({
          standing,
          host: hostRecord,
          policy: vendorPolicy,
          evidence: { session, quote: { attest, sig: posingSignature(ak, attest), pcrs: values } },
          challenge: requote,
          exporter: EXPORTER,
          pcrSelection: ATTESTED_PCRS,
          nowSeconds: NOW,
        }),
      );
    };
    expect(reattest({ resetCount: 4, restartCount: 0, clock: 1n })).toBe('accepted');
    expect(reattest({ resetCount: 2 })).toMatch(/^evidence_invalid: check 19 .*rolled back; .*enrols again/);
  });
});
