import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMANENT, type EsysConnection, type EsysHandle } from '../../src/backend/tpm/esys.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { TPM_ALG } from '../../src/wire/tpm/constants.ts';
import { publicAreaName } from '../../src/wire/tpm/name.ts';
import { signingKeyTemplate, srkTemplate } from '../../src/wire/tpm/templates.ts';
import { createSigningKey, createSrk, handlesOf, rcOf, startTpm, type TestTpm } from '../support/esys.ts';

const TRANSIENT = 0x8000_0000;
const BAD_TR = 0x7_0018;
const AUTH_FAIL_OF_SESSION_1 = 0x98e;

describe('objects', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;
  let srk: EsysHandle;

  beforeAll(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
    srk = await createSrk(esys);
  });
  afterAll(() => tpm.stop());

  it('creates, loads, reads and flushes a key, and its Name is what our codec computes', async () => {
    const created = await esys.create({ parent: srk, inPublic: signingKeyTemplate('ES256') });
    expect(created.creationHash).toHaveLength(32);
    expect(created.creationTicket.readUInt16BE(0)).toBe(0x8021); // TPM_ST_CREATION
    const key = await esys.load({ parent: srk, inPrivate: created.outPrivate, inPublic: created.outPublic });
    expect(key.kind).toBe('transient');

    const read = await esys.readPublic({ object: key });
    expect(read.outPublic).toEqual(created.outPublic);
    expect(read.name).toEqual(Buffer.from(publicAreaName(created.outPublic)));
    expect(await esys.getName(key)).toEqual(read.name);
    expect(read.qualifiedName).not.toEqual(read.name);

    await esys.flushContext(key);
    expect(await rcOf(esys.readPublic({ object: key }))).toBe(BAD_TR);
    expect(await handlesOf(esys, TRANSIENT)).toHaveLength(1);
  });

  it('saves and loads contexts', async () => {
    const key = await createSigningKey(esys, srk);
    const name = await esys.getName(key);
    const context = await esys.contextSave(key);
    await esys.flushContext(key);
    const loaded = await esys.contextLoad(context);
    expect(loaded.kind).toBe('transient');
    expect(await esys.getName(loaded)).toEqual(name);
    await esys.flushContext(loaded);
    await expect(esys.contextLoad(context.subarray(0, -1))).rejects.toMatchObject({
      call: 'Tss2_MU_TPMS_CONTEXT_Unmarshal',
    });
  });

  it('makes a key persistent, finds it by its TPM handle, evicts it', async () => {
    const key = await createSigningKey(esys, srk);
    const name = await esys.getName(key);
    const persistentHandle = 0x8101_0001;
    const persistent = await esys.evictControl({ auth: PERMANENT.owner, object: key, persistentHandle });
    await esys.flushContext(key);
    expect(persistent?.kind).toBe('persistent');
    expect(tpm.tool('tpm2_getcap', 'handles-persistent')).toContain('0x81010001');
    expect(tpm.tool('tpm2_readpublic', '-c', '0x81010001')).toContain(`name: ${name.toString('hex')}`);

    const found = await esys.fromTpmHandle({ tpmHandle: persistentHandle });
    expect(await esys.getName(found)).toEqual(name);
    expect(
      await esys.evictControl({ auth: PERMANENT.owner, object: found, persistentHandle }),
    ).toBeUndefined();
    expect(await rcOf(esys.getName(found))).toBe(BAD_TR);
    expect(tpm.tool('tpm2_getcap', 'handles-persistent')).not.toContain('0x81010001');
  });

  it('keeps a resource that two handles name until the second is closed', async () => {
    const key = await createSigningKey(esys, srk);
    const persistentHandle = 0x8101_0002;
    await esys.evictControl({ auth: PERMANENT.owner, object: key, persistentHandle });
    await esys.flushContext(key);
    // ESYS answers both with one ESYS_TR.
    const first = await esys.fromTpmHandle({ tpmHandle: persistentHandle });
    const second = await esys.fromTpmHandle({ tpmHandle: persistentHandle });
    await esys.closeHandle(first);
    expect(await rcOf(esys.getName(first))).toBe(BAD_TR);
    expect(await esys.getName(second)).toHaveLength(34);
    await esys.closeHandle(second);
    expect(await rcOf(esys.getName(second))).toBe(BAD_TR);
  });

  it('says the code of the TPM for a handle that does not exist', async () => {
    expect(await rcOf(esys.fromTpmHandle({ tpmHandle: 0x8100_ffff }))).toBe(0x18b); // TPM_RC_HANDLE, handle 1
  });

  it('loads an external public area, and a software key with its sensitive area', async () => {
    const { outPublic } = await esys.create({ parent: srk, inPublic: signingKeyTemplate('ES256') });
    const external = await esys.loadExternal({ inPublic: outPublic, hierarchy: PERMANENT.owner });
    expect(await esys.getName(external)).toEqual(Buffer.from(publicAreaName(outPublic)));
    await esys.flushContext(external);

    // A sealed-data object from outside: KEYEDHASH, unique = H(seed ‖ data).
    const [seed, data] = [randomBytes(32), Buffer.from('kept outside')];
    const inPublic = new TpmWriter()
      .u16(TPM_ALG.KEYEDHASH)
      .u16(TPM_ALG.SHA256)
      .u32(0x0000_0040) // userWithAuth
      .tpm2b(new Uint8Array())
      .u16(TPM_ALG.NULL)
      .tpm2b(createHash('sha256').update(seed).update(data).digest())
      .toOctets();
    const inPrivate = new TpmWriter()
      .u16(TPM_ALG.KEYEDHASH)
      .tpm2b(Buffer.from('pw'))
      .tpm2b(seed)
      .tpm2b(data)
      .toOctets();
    const sealed = await esys.loadExternal({ inPrivate, inPublic, hierarchy: PERMANENT.null });
    await esys.setAuth({ handle: sealed, auth: Buffer.from('pw') });
    expect(await esys.unseal({ object: sealed })).toEqual(data);
    await esys.flushContext(sealed);
  });

  it('seals with an auth value, changes it, and refuses the old one', async () => {
    const inPublic = new TpmWriter()
      .u16(TPM_ALG.KEYEDHASH)
      .u16(TPM_ALG.SHA256)
      .u32(0x0000_0452) // fixedTPM, fixedParent, userWithAuth, noDA
      .tpm2b(new Uint8Array())
      .u16(TPM_ALG.NULL)
      .tpm2b(new Uint8Array())
      .toOctets();
    const [before, after] = [randomBytes(24), randomBytes(24)];
    const sealed = await esys.create({
      parent: srk,
      inPublic,
      userAuth: before,
      sensitiveData: Buffer.from('sealed octets'),
    });
    const object = await esys.load({ parent: srk, inPrivate: sealed.outPrivate, inPublic: sealed.outPublic });
    await esys.setAuth({ handle: object, auth: before });
    expect((await esys.unseal({ object })).toString()).toBe('sealed octets');
    const inPrivate = await esys.objectChangeAuth({ object, parent: srk, newAuth: after });
    await esys.flushContext(object);

    const changed = await esys.load({ parent: srk, inPrivate, inPublic: sealed.outPublic });
    await esys.setAuth({ handle: changed, auth: before });
    expect(await rcOf(esys.unseal({ object: changed }))).toBe(0x9a2); // BAD_AUTH, session 1
    await esys.setAuth({ handle: changed, auth: after });
    expect((await esys.unseal({ object: changed })).toString()).toBe('sealed octets');
    await esys.flushContext(changed);
  });

  it('changes the auth value of a hierarchy', async () => {
    const newAuth = randomBytes(20);
    await esys.hierarchyChangeAuth({ auth: PERMANENT.owner, newAuth });
    await esys.setAuth({ handle: PERMANENT.owner, auth: new Uint8Array() });
    const inPublic = srkTemplate();
    expect([0x9a2, AUTH_FAIL_OF_SESSION_1]).toContain(
      await rcOf(esys.createPrimary({ parent: PERMANENT.owner, inPublic })),
    );
    await esys.setAuth({ handle: PERMANENT.owner, auth: newAuth });
    const { handle } = await esys.createPrimary({ parent: PERMANENT.owner, inPublic });
    expect(await esys.getName(handle)).toEqual(await esys.getName(srk));
    await esys.flushContext(handle);
    await esys.hierarchyChangeAuth({ auth: PERMANENT.owner, newAuth: new Uint8Array() });
    await esys.setAuth({ handle: PERMANENT.owner, auth: new Uint8Array() });
  });

  it('records outsideInfo and PCRs at creation', async () => {
    const pcrSelection = Buffer.from('00000001000b03800000', 'hex'); // sha256:7
    const created = await esys.create({
      parent: srk,
      inPublic: signingKeyTemplate('ES256'),
      outsideInfo: Buffer.from('outside'),
      creationPcr: pcrSelection,
    });
    expect(created.creationData.subarray(0, pcrSelection.length)).toEqual(pcrSelection);
    expect(created.creationData.subarray(-7).toString()).toBe('outside');
  });

  it.each(['ES384', 'RS256', 'PS256'] as const)('creates %s keys', async (algorithm) => {
    const { handle, outPublic, outPrivate } = await esys.createLoaded({
      parent: srk,
      inPublic: signingKeyTemplate(algorithm),
    });
    expect(await esys.getName(handle)).toEqual(Buffer.from(publicAreaName(outPublic)));
    expect(outPrivate.length).toBeGreaterThan(64);
    await esys.flushContext(handle);
  });
});
