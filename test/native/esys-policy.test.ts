import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  EsysConnection,
  PERMANENT,
  pcrHandle,
  type EsysHandle,
  type SessionUse,
} from '../../src/backend/tpm/esys.ts';
import { TPM_ALG, TPMA_NV } from '../../src/wire/tpm/constants.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { publicAreaName } from '../../src/wire/tpm/name.ts';
import { serializeNvPublic } from '../../src/wire/tpm/nv-public.ts';
import { serializePcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import { keyMaterialOf } from '../../src/wire/tpm/public-key.ts';
import { parsePublicArea, serializePublicArea } from '../../src/wire/tpm/public-area.ts';
import { joseToSignature, serializeSignature } from '../../src/wire/tpm/signature.ts';
import { ekTemplate, signingKeyTemplate } from '../../src/wire/tpm/templates.ts';
import { createSrk, handlesOf, rcOf, sha256DigestValues, startTpm, type TestTpm } from '../support/esys.ts';

const SHA256 = TPM_ALG.SHA256;
const TPM_CC_SIGN = 0x15d;
const TPM_CC_CERTIFY = 0x148;
const LOADED_SESSIONS = 0x0200_0000;
const POLICY_FAIL_OF_SESSION_1 = 0x99d;
const digest = randomBytes(32);

describe('policy', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;
  let srk: EsysHandle;

  beforeAll(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
  });
  afterAll(() => tpm.stop());
  beforeEach(async () => {
    srk = await createSrk(esys);
  });
  afterEach(async () => {
    await esys.flushContext(srk);
    expect(await handlesOf(esys, LOADED_SESSIONS)).toEqual([]);
  });

  /** The digest of a policy: `assertions` run in a trial session. */
  async function digestOf(assertions: (session: EsysHandle) => Promise<unknown>): Promise<Buffer> {
    const session = await esys.startAuthSession({ type: 'trial', symmetric: 'none', authHash: SHA256 });
    await assertions(session);
    const policy = await esys.policyGetDigest(session);
    await esys.flushContext(session);
    return policy;
  }

  /** A key with that policy; returns the code that signing under `satisfy` fails with. */
  async function signUnder(
    authPolicy: Uint8Array,
    satisfy: (session: EsysHandle) => Promise<unknown>,
    options: { readonly userAuth?: Uint8Array } = {},
  ): Promise<number | undefined> {
    const inPublic = signingKeyTemplate('ES256', { authPolicy });
    const { handle: key } = await esys.createLoaded({ parent: srk, inPublic, ...options });
    if (options.userAuth !== undefined) await esys.setAuth({ handle: key, auth: options.userAuth });
    const session = await esys.startAuthSession({ type: 'policy', symmetric: 'none', authHash: SHA256 });
    await satisfy(session);
    const sessions: SessionUse[] = [{ session, attributes: { continueSession: true } }];
    const rc = await rcOf(esys.sign({ key, digest, sessions }));
    await esys.flushContext(session);
    await esys.flushContext(key);
    return rc;
  }

  it('PolicyPCR: signs while the PCR is as it was, not after it was extended', async () => {
    const pcrs = serializePcrSelection([{ bank: 'sha256', pcrs: [13] }]);
    const satisfy = (policySession: EsysHandle): Promise<void> => esys.policyPcr({ policySession, pcrs });
    const policy = await digestOf(satisfy);
    expect(await signUnder(policy, satisfy)).toBeUndefined();
    const extend = (pcr: number): Promise<void> =>
      esys.pcrExtend({ pcr: pcrHandle(pcr), digests: sha256DigestValues(randomBytes(32)) });
    // Any PCR between assertion and use makes the TPM ask for the assertion again.
    const disturbed = async (session: EsysHandle): Promise<void> => {
      await satisfy(session);
      await extend(12);
    };
    expect(await signUnder(policy, disturbed)).toBe(0x128); // TPM_RC_PCR_CHANGED
    await extend(13);
    expect(await signUnder(policy, satisfy)).toBe(POLICY_FAIL_OF_SESSION_1);
  });

  it('PolicyAuthValue and PolicyCommandCode', async () => {
    const userAuth = randomBytes(24);
    const both =
      (code: number) =>
      async (session: EsysHandle): Promise<void> => {
        await esys.policyCommandCode(session, code);
        await esys.policyAuthValue(session);
      };
    const policy = await digestOf(both(TPM_CC_SIGN));
    expect(await signUnder(policy, both(TPM_CC_SIGN), { userAuth })).toBeUndefined();
    const other = await digestOf(both(TPM_CC_CERTIFY));
    expect(await signUnder(other, both(TPM_CC_CERTIFY), { userAuth })).toBe(0x9a4); // POLICY_CC
  });

  it('PolicyOR and PolicyRestart', async () => {
    const branches = [
      await digestOf((session) => esys.policyCommandCode(session, TPM_CC_SIGN)),
      await digestOf((session) => esys.policyAuthValue(session)),
    ];
    const policy = await digestOf(async (policySession) => {
      await esys.policyAuthValue(policySession);
      await esys.policyOr({ policySession, branches });
    });
    const satisfy = async (policySession: EsysHandle): Promise<void> => {
      await esys.policyAuthValue(policySession); // the wrong start, undone
      await esys.policyRestart(policySession);
      await esys.policyCommandCode(policySession, TPM_CC_SIGN);
      await esys.policyOr({ policySession, branches });
    };
    expect(await signUnder(policy, satisfy)).toBeUndefined();
    expect(await signUnder(policy, (session) => esys.policyAuthValue(session))).toBe(
      POLICY_FAIL_OF_SESSION_1,
    );
    await expect(
      esys.policyOr({ policySession: srk, branches: Array<Buffer>(9).fill(digest) }),
    ).rejects.toThrow(TypeError);
  });

  it('PolicySecret', async () => {
    const satisfy = (policySession: EsysHandle): Promise<unknown> =>
      esys.policySecret({ auth: PERMANENT.endorsement, policySession });
    const policy = await digestOf(satisfy);
    // PolicyA of the EK profile.
    expect(policy.toString('hex')).toBe('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa');
    expect(await signUnder(policy, satisfy)).toBeUndefined();
  });

  it('PolicySigned with the session’s nonce, PolicyAuthorize with a ticket', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const material = keyMaterialOf(publicKey);
    const template = parsePublicArea(signingKeyTemplate('ES256'));
    if (material.type !== 'ecc' || template.type !== 'ecc') throw new Error('expected P-256');
    // userWithAuth, sign: a key from outside can not be fixedTPM.
    const area = { ...template, attributes: 0x0004_0040, x: material.x, y: material.y };
    const authority = serializePublicArea(area);
    const tpmSignature = (message: Uint8Array): Uint8Array => {
      const jose = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      return serializeSignature(joseToSignature(jose, area));
    };
    const auth = await esys.loadExternal({ inPublic: authority, hierarchy: PERMANENT.owner });

    const expiration = new TpmWriter().u32(0).toOctets();
    const signed = async (policySession: EsysHandle): Promise<unknown> => {
      const nonceTpm = await esys.sessionNonce(policySession);
      const signature = tpmSignature(Buffer.concat([nonceTpm, expiration]));
      return esys.policySigned({ auth, policySession, nonceTpm, signature });
    };
    const signedPolicy = await digestOf(signed);
    expect(await signUnder(signedPolicy, signed)).toBeUndefined();

    const approvedPolicy = await digestOf((session) => esys.policyCommandCode(session, TPM_CC_SIGN));
    const policyRef = Buffer.from('ref');
    const message = Buffer.concat([approvedPolicy, policyRef]);
    const checkTicket = await esys.verifySignature({
      key: auth,
      digest: createHash('sha256').update(message).digest(),
      signature: tpmSignature(message),
    });
    await esys.flushContext(auth);
    const keySign = publicAreaName(authority);
    const authorize = { approvedPolicy, policyRef, keySign, checkTicket };
    const policy = await digestOf((policySession) => esys.policyAuthorize({ policySession, ...authorize }));
    const satisfy = async (policySession: EsysHandle): Promise<void> => {
      await esys.policyCommandCode(policySession, TPM_CC_SIGN);
      await esys.policyAuthorize({ policySession, ...authorize });
    };
    expect(await signUnder(policy, satisfy)).toBeUndefined();
    const session = await esys.startAuthSession({ type: 'policy', symmetric: 'none', authHash: SHA256 });
    await esys.policyCommandCode(session, TPM_CC_CERTIFY);
    expect(await rcOf(esys.policyAuthorize({ policySession: session, ...authorize }))).toBe(0x1c4); // VALUE
    await esys.flushContext(session);
  });

  it('PolicyNV: a bit that is set ends the key', async () => {
    const owner = PERMANENT.owner;
    const attributes = TPMA_NV.ownerRead | TPMA_NV.ownerWrite | TPMA_NV.authRead | TPMA_NV.noDA;
    const info = {
      nvIndex: 0x0150_0010,
      nameAlg: 'sha256',
      attributes,
      authPolicy: new Uint8Array(),
    } as const;
    const nvIndex = await esys.nvDefineSpace({
      auth: owner,
      publicInfo: serializeNvPublic({ ...info, dataSize: 1 }),
    });
    await esys.nvWrite({ auth: owner, nvIndex, data: Buffer.of(0), offset: 0 });
    const operandB = Buffer.of(0);
    const isZero = { auth: owner, nvIndex, operandB, offset: 0, operation: 0 }; // TPM_EO_EQ
    const satisfy = (policySession: EsysHandle): Promise<void> => esys.policyNv({ ...isZero, policySession });
    const policy = await digestOf(satisfy);
    expect(await signUnder(policy, satisfy)).toBeUndefined();
    await esys.nvWrite({ auth: owner, nvIndex, data: Buffer.of(1), offset: 0 });
    const session = await esys.startAuthSession({ type: 'policy', symmetric: 'none', authHash: SHA256 });
    expect(await rcOf(satisfy(session))).toBe(0x126); // TPM_RC_POLICY
    await esys.flushContext(session);
    await esys.nvUndefineSpace({ auth: owner, nvIndex });
  });
});

describe('sessions on the bus', () => {
  it('a salted session with decrypt and encrypt keeps auth values and sealed data off the bus', async () => {
    const tpm = await startTpm();
    const file = join(tpm.swtpm.dir, 'bus.pcapng');
    process.env['TCTI_PCAP_FILE'] = file;
    const esys = await EsysConnection.open(`pcap:${tpm.swtpm.tcti}`);
    Reflect.deleteProperty(process.env, 'TCTI_PCAP_FILE');
    try {
      const srk = await createSrk(esys);
      const inPublic = new TpmWriter()
        .u16(TPM_ALG.KEYEDHASH)
        .u16(SHA256)
        .u32(0x0000_0452)
        .tpm2b(new Uint8Array())
        .u16(TPM_ALG.NULL)
        .tpm2b(new Uint8Array())
        .toOctets();
      const secrets = { userAuth: randomBytes(24), sensitiveData: randomBytes(48) };
      const onTheBus = (): readonly boolean[] => {
        const octets = readFileSync(file);
        return [octets.includes(secrets.userAuth), octets.includes(secrets.sensitiveData)];
      };
      const session = await esys.startAuthSession({
        type: 'hmac',
        tpmKey: srk,
        symmetric: 'aes-128-cfb',
        authHash: SHA256,
      });
      const use = { session, attributes: { continueSession: true, decrypt: true, encrypt: true } };
      const created = await esys.create({ parent: srk, inPublic, ...secrets, sessions: [use] });
      const load = { parent: srk, inPrivate: created.outPrivate, inPublic: created.outPublic };
      const object = await esys.load({
        ...load,
        sessions: [{ session, attributes: { continueSession: true } }],
      });
      await esys.setAuth({ handle: object, auth: secrets.userAuth });
      const encrypt = { session, attributes: { continueSession: true, encrypt: true } };
      expect(await esys.unseal({ object, sessions: [encrypt] })).toEqual(secrets.sensitiveData);
      expect(onTheBus()).toEqual([false, false]);

      // As second session beside a password, for a command that needs no more than encryption.
      expect(await esys.getRandom(8)).toHaveLength(8);
      await esys.unseal({ object, sessions: [undefined, encrypt] });
      expect(onTheBus()).toEqual([true, false]);
      await esys.unseal({ object });
      expect(onTheBus()).toEqual([true, true]);

      // Without continueSession the session ends with the command.
      await esys.unseal({ object, sessions: [{ session, attributes: { encrypt: true } }] });
      expect(await rcOf(esys.unseal({ object, sessions: [encrypt] }))).toBe(0x7_0018);
      expect(await handlesOf(esys, LOADED_SESSIONS)).toEqual([]);
    } finally {
      await esys.close();
      await tpm.stop();
    }
  });

  it('salts a session to an RSA key', async () => {
    const tpm = await startTpm();
    try {
      const { esys } = tpm;
      const inPublic = ekTemplate('H-1');
      const ek = (await esys.createPrimary({ parent: PERMANENT.endorsement, inPublic })).handle;
      const session = await esys.startAuthSession({
        type: 'hmac',
        tpmKey: ek,
        symmetric: 'aes-128-cfb',
        authHash: SHA256,
      });
      const sessions = [{ session, attributes: { continueSession: true, decrypt: true, encrypt: true } }];
      const parent = await createSrk(esys);
      const created = await esys.create({ parent, inPublic: signingKeyTemplate('ES256'), sessions });
      // What came back encrypted is whole.
      await esys.load({ parent, inPrivate: created.outPrivate, inPublic: created.outPublic, sessions: [] });
      await esys.flushContext(session);
    } finally {
      await tpm.stop();
    }
  });

  it('binds a session and saves it', async () => {
    const tpm = await startTpm();
    try {
      const { esys } = tpm;
      const srk = await createSrk(esys);
      const session = await esys.startAuthSession({
        type: 'hmac',
        bind: srk,
        symmetric: 'none',
        authHash: SHA256,
      });
      const context = await esys.contextSave(session);
      expect(await rcOf(esys.sessionNonce(session))).toBe(0x7_0018);
      const loaded = await esys.contextLoad(context);
      expect(loaded.kind).toBe('session');
      const sessions = [{ session: loaded, attributes: { continueSession: true } }];
      const { handle } = await esys.createLoaded({
        parent: srk,
        inPublic: signingKeyTemplate('ES256'),
        sessions,
      });
      await esys.sign({ key: handle, digest, sessions });
      await esys.flushContext(loaded);
    } finally {
      await tpm.stop();
    }
  });
});

describe('commands past ESYS', () => {
  it('have the handle of a live object and their own size; what the TPM answers is given back', async () => {
    const tpm = await startTpm();
    try {
      const { esys } = tpm;
      const object = await createSrk(esys);
      const readPublic = Buffer.from('80010000000e0000017300000000', 'hex');
      const response = await esys.transmit({ object, command: readPublic });
      expect(response.readUInt32BE(2)).toBe(response.length);
      expect(response.includes((await esys.readPublic({ object })).outPublic)).toBe(true);
      // TPM_RC_COMMAND_CODE is an answer, too.
      const unknown = Buffer.from('80010000000e0000ffff00000000', 'hex');
      expect((await esys.transmit({ object, command: unknown })).readUInt32BE(6)).toBe(0x143);
      for (const command of [
        readPublic.subarray(0, 10),
        Buffer.concat([readPublic, Buffer.of(0)]),
        Buffer.alloc(4097),
        Buffer.alloc(0),
      ]) {
        await expect(esys.transmit({ object, command })).rejects.toThrow(TypeError);
      }
      await esys.flushContext(object);
      expect(await rcOf(esys.transmit({ object, command: readPublic }))).toBe(0x70018);
      expect(esys.isDead).toBe(false);
    } finally {
      await tpm.stop();
    }
  });
});
