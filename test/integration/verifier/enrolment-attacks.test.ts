/** Attacks on enrolment, each stopped by the check it is named after; evidence is a real TPM's, then spoiled. */
import { createHmac, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppraisalPolicy } from '../../../src/issuer/verifier/appraisal-policy.ts';
import {
  appraiseEnrolment,
  appraiseEnrolmentRequest,
  ekHashOf,
  makeEnrolmentCredential,
  type EnrolmentInput,
} from '../../../src/issuer/verifier/appraise-enrolment.ts';
import { activationMessage } from '../../../src/wire/attested-data.ts';
import {
  enrolmentOctets,
  type EnrolEvidence,
  type EnrolRequest,
} from '../../../src/wire/issuance/enrolment.ts';
import { TPMA_OBJECT } from '../../../src/wire/tpm/constants.ts';
import { parsePublicArea, serializePublicArea, type PublicArea } from '../../../src/wire/tpm/public-area.ts';
import { akTemplate, ekTemplate, signingKeyTemplate } from '../../../src/wire/tpm/templates.ts';
import { AttestedHost } from '../../support/attested-host.ts';
import { posingAk } from '../../support/posing-tpm.ts';
import { refusalOf } from '../../support/refusal.ts';
import { challengeFor, createHostKeys, enrolmentInput, NOW, type HostKeys } from './scenario.ts';

let host: AttestedHost;
let keys: HostKeys;
let honest: EnrolmentInput;

beforeAll(async () => {
  host = await AttestedHost.start();
  keys = await createHostKeys(host);
  honest = await enrolmentInput(host, keys);
});
afterAll(async () => {
  await host.stop();
});

const refusal = (change: Partial<EnrolmentInput>): string =>
  refusalOf(() => appraiseEnrolment({ ...honest, ...change }));
const withEvidence = (change: Partial<EnrolEvidence>): string =>
  refusal({ evidence: { ...honest.evidence, ...change } });
const withEk = (change: Partial<EnrolRequest['ek']>): string =>
  refusal({ request: { ...honest.request, ek: { ...honest.request.ek, ...change } } });
const withPolicy = (change: Partial<AppraisalPolicy>): string =>
  refusal({ policy: { ...honest.policy, ...change } });
const withAk = (octets: Uint8Array): string =>
  refusal({ request: { ...honest.request, ak: { public: octets } } });

function changed(octets: Uint8Array, change: (area: PublicArea) => PublicArea): Uint8Array {
  return serializePublicArea(change(parsePublicArea(octets)));
}

describe('check 1: strict parse', () => {
  it('refuses every public area cut at any offset, and one octet more', () => {
    const { request, evidence } = honest;
    for (let length = 0; length < request.ek.public.length; length++) {
      expect(withEk({ public: request.ek.public.subarray(0, length) })).toMatch(
        /^evidence_invalid: check 1 /,
      );
    }
    for (let length = 0; length < request.ak.public.length; length++) {
      expect(withAk(request.ak.public.subarray(0, length))).toMatch(/^evidence_invalid: check 1 /);
      const short = { ...evidence.hostKey, public: evidence.hostKey.public.subarray(0, length) };
      expect(withEvidence({ hostKey: short })).toMatch(/^evidence_invalid: check 1 /);
    }
    const longer = Buffer.concat([request.ak.public, Buffer.from([0])]);
    expect(withAk(longer)).toMatch(/^evidence_invalid: check 1 /);
  });
});

describe('check 2: challenge', () => {
  it('S9: a replayed answer finds its challenge used', () => {
    expect(refusalOf(() => appraiseEnrolment(honest))).toBe('accepted');
    expect(refusal({ challenge: undefined })).toMatch(/^evidence_invalid: check 2 .*used before/);
  });

  it('refuses an expired challenge, and one of another operation, session or TPM', () => {
    expect(refusal({ nowSeconds: NOW + 61 })).toMatch(/check 2 .*expired/);
    expect(refusal({ challenge: challengeFor('reattest', ekHashOf(host.ekPublic)) })).toMatch(
      /check 2 .*reattest/,
    );
    expect(refusal({ challenge: challengeFor('enroll', ekHashOf(host.ekPublic)) })).toMatch(
      /check 2 .*session/,
    );
    const other = challengeFor('enroll', '00'.repeat(32));
    const session = { ...honest.evidence, session: other.claims.session };
    expect(refusal({ challenge: other, evidence: session })).toMatch(/check 2 .*another TPM/);
  });
});

describe('checks 3 to 7: whose EK', () => {
  it('check 3: a certificate cut at any offset, or followed by something', () => {
    const { cert } = honest.request.ek;
    const asked = (octets: Uint8Array): string => {
      const request = { ...honest.request, ek: { ...honest.request.ek, cert: octets } };
      return refusalOf(() => appraiseEnrolmentRequest({ ...honest, request }));
    };
    for (let length = 0; length < cert.length; length++) {
      expect(asked(cert.subarray(0, length))).toMatch(/^evidence_invalid: check 3 /);
    }
    expect(asked(Buffer.concat([cert, Buffer.from('junk')]))).toMatch(/check 3 .*no NV padding/);
    expect(asked(Buffer.concat([cert, Buffer.alloc(300)]))).toBe('accepted');
  });

  it('check 4: a TPM whose root is not pinned', () => {
    expect(withPolicy({ roots: [] })).toMatch(/^evidence_invalid: check 4 .*no path to a pinned root/);
  });

  it('check 4: a genuine-looking software TPM, unless a development policy names itself', () => {
    expect(withPolicy({ development: undefined })).toMatch(/^appraisal_denied: check 4 .*test root/);
  });

  it('check 4: an altered certificate', () => {
    const { cert } = honest.request.ek;
    const altered = Uint8Array.from(cert);
    const at = Buffer.from(cert).lastIndexOf('swtpm');
    altered[at] = 'S'.charCodeAt(0);
    expect(withEk({ cert: altered })).toMatch(/^evidence_invalid: check 4 .*did not sign/);
  });

  it('check 5: a revision below the floor, and a model on the deny-list', () => {
    expect(withPolicy({ models: { minimumRevision: 165, denied: [] } })).toMatch(
      /^appraisal_denied: check 5 .*revision 164/,
    );
    const denied = [{ manufacturer: 'id:00001014', model: 'swtpm', reason: 'keys in a file' }];
    expect(withPolicy({ models: { minimumRevision: 116, denied } })).toMatch(
      /^appraisal_denied: check 5 .*keys in a file/,
    );
  });

  it('check 6: an EK with parameters that the attacker chose', () => {
    const ek = honest.request.ek.public;
    const bits: readonly (keyof typeof TPMA_OBJECT)[] = ['fixedTPM', 'restricted', 'userWithAuth', 'sign'];
    for (const bit of bits) {
      const other = changed(ek, (area) => ({ ...area, attributes: area.attributes ^ TPMA_OBJECT[bit] }));
      const known = { ...honest.host, ekHash: ekHashOf(other) } as EnrolmentInput['host'];
      const challenge = challengeFor('enroll', ekHashOf(other));
      const evidence = { ...honest.evidence, session: challenge.claims.session };
      const request = { ...honest.request, ek: { ...honest.request.ek, public: other } };
      expect(refusal({ request, host: known, challenge, evidence })).toMatch(/^evidence_invalid: check 6 /);
    }
    expect(withEk({ template: 'H-2' })).toMatch(/^evidence_invalid: check 6 /);
    expect(withEk({ template: 'L-1' })).toMatch(/^evidence_invalid: check 6 .*RSA-2048/);
  });

  it('check 7: a genuine TPM that nobody approved, and another host’s record', () => {
    expect(refusal({ host: undefined })).toMatch(/^host_not_approved: check 7 .*[0-9a-f]{64}/);
    const other = { ...honest.host, ekHash: '00'.repeat(32) } as EnrolmentInput['host'];
    expect(refusal({ host: other })).toMatch(/^host_not_approved: check 7 /);
  });
});

describe('check 8: AK attributes', () => {
  it.each(['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign'] as const)(
    'refuses an AK that is not %s',
    (bit) => {
      const ak = changed(keys.ak.publicArea, (area) => ({
        ...area,
        attributes: area.attributes & ~TPMA_OBJECT[bit],
      }));
      expect(withAk(ak)).toBe(`evidence_invalid: check 8 (AK attributes): the AK is not ${bit}`);
    },
  );

  it.each(['decrypt', 'stClear', 'encryptedDuplication'] as const)('refuses an AK that is %s', (bit) => {
    const ak = changed(keys.ak.publicArea, (area) => ({
      ...area,
      attributes: area.attributes | TPMA_OBJECT[bit],
    }));
    expect(withAk(ak)).toBe(`evidence_invalid: check 8 (AK attributes): the AK is ${bit}`);
  });

  it('refuses another curve, hash, key type and a Name with SHA-1', () => {
    const scheme = (hash: 'sha1' | 'sha384') => ({ scheme: 'ecdsa', hash }) as const;
    const variants = [
      posingAk({ scheme: undefined }).publicArea,
      posingAk({ scheme: scheme('sha1') }).publicArea,
      posingAk({ scheme: scheme('sha384') }).publicArea,
      posingAk({ nameAlg: 'sha1' }).publicArea,
      posingAk({ curve: 'P-384' }).publicArea,
    ];
    for (const variant of variants) expect(withAk(variant)).toMatch(/^evidence_invalid: check 8 /);
  });

  it('refuses the EK itself as AK', () => {
    expect(withAk(host.ekPublic)).toMatch(/^evidence_invalid: check 8 .*not sign/);
  });
});

describe('checks 9 and 10: the AK is in the TPM of the EK', () => {
  it('a software AK that claims every attribute can not be activated', async () => {
    const posing = posingAk();
    const request = { ...honest.request, ak: { public: posing.publicArea } };
    const { credential } = makeEnrolmentCredential(appraiseEnrolmentRequest({ ...honest, request }));
    // The credential is for a Name that is in no TPM; this TPM has another AK to offer.
    await expect(host.activate(keys.ak, credential)).rejects.toThrow(/rc 0x1df/);
    expect(refusal({ request })).toMatch(/^evidence_invalid: check 10 /);
  });

  it('AK of one TPM, EK of another: the credential opens in neither', async () => {
    const other = await AttestedHost.start({ unique: true });
    try {
      const akOfOther = await other.createAk();
      const request = { ...honest.request, ak: { public: akOfOther.publicArea } };
      const { credential } = makeEnrolmentCredential(appraiseEnrolmentRequest({ ...honest, request }));
      await expect(other.activate(akOfOther, credential)).rejects.toThrow(/failed: rc 0x/);
      await expect(host.activate(keys.ak, credential)).rejects.toThrow(/rc 0x1df/);
    } finally {
      await other.stop();
    }
  });

  it('refuses a wrong proof, a proof for another challenge, and one for another request', () => {
    const proofFor = (secret: Uint8Array, jws: string, request: EnrolRequest): string =>
      withEvidence({
        proof: createHmac('sha256', secret)
          .update(activationMessage(jws, enrolmentOctets(request)))
          .digest(),
      });
    const jws = honest.challenge?.jws ?? '';
    expect(proofFor(honest.secret, jws, honest.request)).toBe('accepted');
    expect(proofFor(randomBytes(32), jws, honest.request)).toMatch(/^evidence_invalid: check 10 /);
    expect(proofFor(honest.secret, `${jws}x`, honest.request)).toMatch(/^evidence_invalid: check 10 /);
    expect(proofFor(honest.secret, jws, { ...honest.request, tpmInfo: 'other' })).toMatch(/check 10 /);
    expect(withEvidence({ proof: new Uint8Array() })).toMatch(/^evidence_invalid: check 10 /);
  });
});

describe('checks 11 to 17 over what enrolment brings', () => {
  it('check 14: S9: the connection was relayed, or the binding was downgraded', () => {
    expect(refusal({ exporter: randomBytes(32) })).toMatch(/^evidence_invalid: check 14 /);
    expect(refusal({ exporter: undefined })).toMatch(/^evidence_invalid: check 14 .*TLS channel/);
    expect(refusal({ exporter: new Uint8Array(32) })).toMatch(/^evidence_invalid: check 14 /);
  });

  it('check 14: host and audit key are exchanged, or one of them swapped for another certified key', async () => {
    const { hostKey, auditKey } = honest.evidence;
    expect(withEvidence({ hostKey: auditKey, auditKey: hostKey })).toMatch(/^evidence_invalid: check 14 /);
    const agent = await host.createAgentKey();
    const swapped = { ...hostKey, public: agent.publicArea };
    expect(withEvidence({ hostKey: swapped })).toMatch(/^evidence_invalid: check 14 /);
  });

  it('check 15: an AK of the owner or platform hierarchy activates as well, but its quote says where it lives', async () => {
    for (const hierarchy of ['owner', 'platform'] as const) {
      const ak = await host.createPrimary(hierarchy, akTemplate(randomBytes(32)));
      const input = await enrolmentInput(host, { ...keys, ak });
      expect(refusalOf(() => appraiseEnrolment(input))).toMatch(/^evidence_invalid: check 15 .*endorsement/);
    }
  });

  it('check 15: an AK below the SRK, whose counts the TPM hides', async () => {
    const ak = await host.createChild(akTemplate(new Uint8Array()));
    const input = await enrolmentInput(host, { ...keys, ak });
    expect(refusalOf(() => appraiseEnrolment(input))).toMatch(/^evidence_invalid: check 15 /);
  });

  it('check 17: a host key that is not one: restricted, P-384, or the audit key again', async () => {
    const restricted = await host.createChild(akTemplate(new Uint8Array()));
    const large = await host.createChild(signingKeyTemplate('ES384'));
    const refused = async (change: Partial<HostKeys>): Promise<string> => {
      const input = await enrolmentInput(host, { ...keys, ...change });
      return refusalOf(() => appraiseEnrolment(input));
    };
    expect(await refused({ hostKey: restricted })).toMatch(/check 17 .*host key: the key is restricted/);
    expect(await refused({ auditKey: large })).toMatch(/check 17 .*audit key: P-384/);
    expect(await refused({ auditKey: keys.hostKey })).toMatch(/check 17 .*one key/);
  });

  it('refuses a template that is no key at all', () => {
    expect(withAk(ekTemplate('L-1'))).toMatch(/^evidence_invalid: check 8 /);
  });
});
