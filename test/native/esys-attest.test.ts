import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  PERMANENT,
  type Attested,
  type EsysConnection,
  type EsysHandle,
} from '../../src/backend/tpm/esys.ts';
import { parseAttest } from '../../src/wire/tpm/attest.ts';
import { publicAreaToKeyObject } from '../../src/wire/tpm/public-key.ts';
import { parsePublicArea, type PublicArea } from '../../src/wire/tpm/public-area.ts';
import { serializePcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import { verifyTpmSignature } from '../../src/wire/tpm/signature.ts';
import { ekTemplate, signingKeyTemplate } from '../../src/wire/tpm/templates.ts';
import { createAk, createSigningKey, createSrk, rcOf, startTpm, type TestTpm } from '../support/esys.ts';

const TPM_CC_GET_RANDOM = 0x17b;
const SHA256 = 0x000b;

describe('signatures and attestation', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;
  let srk: EsysHandle;
  let ak: EsysHandle;
  let akPublic: PublicArea;
  const qualifyingData = randomBytes(32);

  beforeAll(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
    srk = await createSrk(esys);
    ak = await createAk(esys);
    akPublic = parsePublicArea((await esys.readPublic({ object: ak })).outPublic);
  });
  afterAll(() => tpm.stop());

  function expectSignedByAk({ attest, signature }: Attested): void {
    expect(verifyTpmSignature(akPublic, attest, signature)).toBe(true);
    expect(verifyTpmSignature(akPublic, Buffer.concat([attest, Buffer.of(0)]), signature)).toBe(false);
  }

  it('signs a digest, and the TPM verifies it with a ticket', async () => {
    const key = await createSigningKey(esys, srk);
    const area = parsePublicArea((await esys.readPublic({ object: key })).outPublic);
    const message = Buffer.from('what is signed');
    const digest = createHash('sha256').update(message).digest();
    const signature = await esys.sign({ key, digest });
    expect(verifyTpmSignature(area, message, signature)).toBe(true);
    const validation = await esys.verifySignature({ key, digest, signature });
    expect(validation.readUInt16BE(0)).toBe(0x8022); // TPM_ST_VERIFIED
    expect(await rcOf(esys.verifySignature({ key, digest: randomBytes(32), signature }))).toBe(0x2db); // SIGNATURE
    await esys.flushContext(key);
  });

  it('signs with a scheme of the command where the key leaves it open, and refuses another than the key’s', async () => {
    const key = await createSigningKey(esys, srk);
    const inScheme = Buffer.from('0018000c', 'hex'); // ECDSA, SHA-384
    expect(await rcOf(esys.sign({ key, digest: randomBytes(48), inScheme }))).toBe(0x2d2); // SCHEME
    expect(
      await rcOf(esys.sign({ key, digest: randomBytes(32), inScheme: Buffer.from('0018000b', 'hex') })),
    ).toBeUndefined();
    await esys.flushContext(key);
  });

  it('signs with a restricted key only what the TPM has hashed itself', async () => {
    const data = Buffer.from('hashed inside');
    const { digest, validation } = await esys.hash({
      data,
      hashAlg: SHA256,
      hierarchy: PERMANENT.endorsement,
    });
    expect(digest).toEqual(createHash('sha256').update(data).digest());
    const signature = await esys.sign({ key: ak, digest, validation });
    expect(verifyTpmSignature(akPublic, data, signature)).toBe(true);
    expect(await rcOf(esys.sign({ key: ak, digest }))).toBe(0x3e0); // TICKET
    const generated = Buffer.from('ff54434780180000', 'hex');
    const forged = await esys.hash({ data: generated, hashAlg: SHA256, hierarchy: PERMANENT.endorsement });
    expect(await rcOf(esys.sign({ key: ak, ...forged }))).toBe(0x3e0);
  });

  it('certifies a key: the nonce, the Name and the signer are in what the AK signs', async () => {
    const key = await createSigningKey(esys, srk);
    const certified = await esys.certify({ object: key, signer: ak, qualifyingData });
    expectSignedByAk(certified);
    const attest = parseAttest(new Uint8Array(certified.attest));
    expect(Buffer.from(attest.extraData)).toEqual(qualifyingData);
    expect(attest).toMatchObject({ type: 'certify', name: new Uint8Array(await esys.getName(key)) });
    await esys.flushContext(key);
  });

  it('certifies a creation', async () => {
    const created = await esys.create({ parent: srk, inPublic: signingKeyTemplate('ES256') });
    const object = await esys.load({
      parent: srk,
      inPrivate: created.outPrivate,
      inPublic: created.outPublic,
    });
    const { creationHash, creationTicket } = created;
    const certified = await esys.certifyCreation({
      signer: ak,
      object,
      qualifyingData,
      creationHash,
      creationTicket,
    });
    expectSignedByAk(certified);
    expect(parseAttest(new Uint8Array(certified.attest)).type).toBe('creation');
    const other = { signer: ak, object, qualifyingData, creationHash: randomBytes(32), creationTicket };
    expect(await rcOf(esys.certifyCreation(other))).toBe(0x4e0); // TICKET, parameter 4
    await esys.flushContext(object);
  });

  it('quotes PCRs, and tpm2_checkquote accepts it', async () => {
    const pcrSelect = serializePcrSelection([{ bank: 'sha256', pcrs: [0, 1, 7, 14] }]);
    const quote = await esys.quote({ signer: ak, qualifyingData, pcrSelect });
    expectSignedByAk(quote);
    const file = (name: string): string => join(tpm.swtpm.dir, name);
    const pem = publicAreaToKeyObject(akPublic).export({ type: 'spki', format: 'pem' });
    writeFileSync(file('ak.pem'), pem);
    writeFileSync(file('q.msg'), quote.attest);
    writeFileSync(file('q.sig'), quote.signature);
    const check = ['-u', 'ak.pem', '-m', 'q.msg', '-s', 'q.sig', '-g', 'sha256', '-q'];
    expect(tpm.tool('tpm2_checkquote', ...check, qualifyingData.toString('hex'))).toContain('sig:');
    expect(() => tpm.tool('tpm2_checkquote', ...check, '00')).toThrow();
  });

  it('activates a credential made for this AK and EK only', async () => {
    const ek = await esys.createPrimary({ parent: PERMANENT.endorsement, inPublic: ekTemplate('H-2') });
    const credential = randomBytes(32);
    const made = await esys.makeCredential({
      key: ek.handle,
      credential,
      objectName: await esys.getName(ak),
    });
    // H templates have userWithAuth: the EK's empty auth value is enough.
    expect(await esys.activateCredential({ activateHandle: ak, key: ek.handle, ...made })).toEqual(
      credential,
    );

    const other = await esys.makeCredential({
      key: ek.handle,
      credential,
      objectName: await esys.getName(srk),
    });
    expect(await rcOf(esys.activateCredential({ activateHandle: ak, key: ek.handle, ...other }))).toBe(0x1df); // INTEGRITY
    await esys.flushContext(ek.handle);
  });

  it('activates with a low-range EK through PolicySecret(endorsement)', async () => {
    // Three object slots: AK and EK stay, the SRK goes.
    const context = await esys.contextSave(srk);
    await esys.flushContext(srk);
    const ek = await esys.createPrimary({ parent: PERMANENT.endorsement, inPublic: ekTemplate('L-2') });
    const credential = randomBytes(32);
    const made = await esys.makeCredential({
      key: ek.handle,
      credential,
      objectName: await esys.getName(ak),
    });
    const session = await esys.startAuthSession({ type: 'policy', symmetric: 'none', authHash: SHA256 });
    await esys.policySecret({ auth: PERMANENT.endorsement, policySession: session });
    const sessions = [undefined, { session, attributes: { continueSession: false } }];
    const activate = { activateHandle: ak, key: ek.handle, ...made };
    expect(await esys.activateCredential({ ...activate, sessions })).toEqual(credential);
    expect(await rcOf(esys.policyGetDigest(session))).toBe(0x7_0018); // ended with the command
    await esys.flushContext(ek.handle);
    srk = await esys.contextLoad(context);
  });

  it('audits commands and signs their digest', async () => {
    const none = 0x0010;
    await esys.setCommandCodeAuditStatus({
      auth: PERMANENT.owner,
      auditAlg: SHA256,
      setList: [],
      clearList: [],
    });
    await esys.setCommandCodeAuditStatus({
      auth: PERMANENT.owner,
      auditAlg: none,
      setList: [TPM_CC_GET_RANDOM],
      clearList: [],
    });
    await esys.getRandom(8);
    const digestOf = async (): Promise<string> => {
      const audit = await esys.getCommandAuditDigest({
        privacyAdmin: PERMANENT.endorsement,
        signer: ak,
        qualifyingData,
      });
      expectSignedByAk(audit);
      expect(audit.attest.readUInt16BE(4)).toBe(0x8015); // TPM_ST_ATTEST_COMMAND_AUDIT
      // TPMS_COMMAND_AUDIT_INFO ends with auditDigest and commandDigest.
      return audit.attest.subarray(-68, -34).toString('hex');
    };
    const audited = await digestOf();
    expect(audited.slice(0, 4)).toBe('0020');
    await esys.getRandom(8);
    expect(await digestOf()).not.toBe(audited);
    const clear = { auth: PERMANENT.owner, auditAlg: none, setList: [], clearList: [TPM_CC_GET_RANDOM] };
    await esys.setCommandCodeAuditStatus(clear);
  });
});
