/**
 * The forgery that `restricted` stops: an unrestricted key of a genuine TPM is activated like an AK, and then signs
 * a TPMS_ATTEST that the attacker wrote about a key that never was in a TPM.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appraiseEnrolmentRequest, ekHashOf } from '../../../src/issuer/verifier/appraise-enrolment.ts';
import { appraiseKey } from '../../../src/issuer/verifier/appraise-key.ts';
import type { HostStanding } from '../../../src/issuer/verifier/host-standing.ts';
import { makeCredential } from '../../../src/issuer/verifier/make-credential.ts';
import { attestedData } from '../../../src/wire/attested-data.ts';
import { issueBound } from '../../../src/wire/issuance/issue.ts';
import { sameOctets } from '../../../src/wire/tpm/codec.ts';
import { publicAreaName } from '../../../src/wire/tpm/name.ts';
import { parsePublicArea } from '../../../src/wire/tpm/public-area.ts';
import { verifyTpmSignature } from '../../../src/wire/tpm/signature.ts';
import { signingKeyTemplate } from '../../../src/wire/tpm/templates.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { makeSoftwareCsr } from '../../support/certificates.ts';
import { posedCertify, posingAgentKey, qualifiedNameOf } from '../../support/posing-tpm.ts';
import {
  challengeFor,
  createHostKeys,
  developmentPolicy,
  enrolledStanding,
  enrolRequest,
  EXPORTER,
  hostRecord,
  keyInput,
  NOW,
  REQUEST,
} from './scenario.ts';

describe('check 8: the forged attestation', () => {
  let host: AttestedHost;
  /** A key of the real TPM with every attribute of an AK but `restricted`. */
  let unrestricted: HostKey;

  beforeAll(async () => {
    host = await AttestedHost.start();
    unrestricted = await host.createPrimary('endorsement', signingKeyTemplate('ES256'));
  });
  afterAll(async () => {
    await host.stop();
  });

  it('works but for the check: the key activates, and its signature over the forgery is good', async () => {
    const secret = new Uint8Array(32).fill(9);
    const ekArea = parsePublicArea(host.ekPublic);
    const credential = makeCredential(ekArea, publicAreaName(unrestricted.publicArea), secret);
    expect(sameOctets(await host.activate(unrestricted, credential), secret)).toBe(true);

    const software = posingAgentKey();
    const ak = { ...software, publicArea: unrestricted.publicArea };
    const forged = posedCertify(ak, software.publicArea, new Uint8Array(32));
    const signature = await host.sign(unrestricted, createHash('sha256').update(forged).digest());
    expect(verifyTpmSignature(parsePublicArea(unrestricted.publicArea), forged, signature)).toBe(true);
  });

  it('is refused at enrolment, before any credential is made', async () => {
    const input = {
      request: enrolRequest(host, unrestricted),
      host: hostRecord(host),
      policy: await developmentPolicy(host),
      nowSeconds: NOW,
    };
    expect(() => appraiseEnrolmentRequest(input)).toThrow(
      expect.objectContaining({
        code: 'evidence_invalid',
        message: 'check 8 (AK attributes): the AK is not restricted',
      }),
    );
  });

  it('is refused at issuance too, where a store were made to hold the unrestricted key', async () => {
    const software = posingAgentKey();
    const akName = publicAreaName(unrestricted.publicArea);
    const honest = await enrolledStanding(host, await createHostKeys(host));
    const standing: HostStanding = {
      ...honest,
      akId: Buffer.from(akName).toString('hex'),
      akPublic: unrestricted.publicArea,
      ekHash: ekHashOf(host.ekPublic),
    };
    const challenge = challengeFor('issue', standing.akId);
    const csr = makeSoftwareCsr(software);
    const bound = issueBound(REQUEST, software.publicArea, csr);
    const extraData = attestedData('issue-certify', challenge.jws, bound, EXPORTER);
    const ak = { ...software, publicArea: unrestricted.publicArea };
    const { clock, safe, resetCount, restartCount, firmwareVersion } = standing.boot;
    const attest = posedCertify(ak, software.publicArea, extraData, {
      qualifiedSigner: qualifiedNameOf(ak),
      clockInfo: { clock, safe, resetCount, restartCount },
      firmwareVersion,
    });
    const sig = await host.sign(unrestricted, createHash('sha256').update(attest).digest());
    const base = await keyInput(host, await host.createAk(), await host.createAgentKey(), honest, {
      quote: 'reuse',
    });
    const issue = {
      session: challenge.claims.session,
      tpmKey: { public: software.publicArea, certify: { attest, sig } },
      csr,
    };
    expect(() => appraiseKey({ ...base, standing, challenge, issue })).toThrow(/^check 8 \(AK attributes\)/);
  });

  it('can not be made with a restricted key: the TPM refuses to sign what looks like its own', async () => {
    const ak = await host.createAk();
    const software = posingAgentKey();
    const forged = posedCertify(
      { ...software, publicArea: ak.publicArea },
      software.publicArea,
      new Uint8Array(32),
    );
    // Without a ticket: TPM_RC_TICKET; TPM2_Hash gives none for octets that begin with TPM_GENERATED_VALUE.
    await expect(host.sign(ak, createHash('sha256').update(forged).digest())).rejects.toThrow(/rc 0x3e0/);
    await expect(host.signHashed(ak, forged)).rejects.toThrow(/rc 0x3e0/);
    const harmless = await host.signHashed(ak, Buffer.from('harmless'));
    expect(verifyTpmSignature(parsePublicArea(ak.publicArea), Buffer.from('harmless'), harmless)).toBe(true);
  });
});
