import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMANENT, type EsysConnection, type EsysHandle } from '../../src/backend/tpm/esys.ts';
import { parseAttest } from '../../src/wire/tpm/attest.ts';
import { TPM_NT, TPMA_NV } from '../../src/wire/tpm/constants.ts';
import { nvName, parseNvPublic, serializeNvPublic, type NvPublic } from '../../src/wire/tpm/nv-public.ts';
import { parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { verifyTpmSignature } from '../../src/wire/tpm/signature.ts';
import { createAk, rcOf, startTpm, type TestTpm } from '../support/esys.ts';

const OWNER_AND_AUTH =
  TPMA_NV.ownerWrite | TPMA_NV.ownerRead | TPMA_NV.authWrite | TPMA_NV.authRead | TPMA_NV.noDA;
const UNINITIALIZED = 0x14a;
const LOCKED = 0x148;

describe('NV', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;
  const indexAuth = randomBytes(20);
  const owner = PERMANENT.owner;

  beforeAll(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
  });
  afterAll(() => tpm.stop());

  async function define(nvIndex: number, type: number, dataSize: number, more = 0): Promise<EsysHandle> {
    const info: NvPublic = {
      nvIndex,
      nameAlg: 'sha256',
      attributes: (OWNER_AND_AUTH | type | more) >>> 0,
      authPolicy: new Uint8Array(),
      dataSize,
    };
    const handle = await esys.nvDefineSpace({ auth: owner, indexAuth, publicInfo: serializeNvPublic(info) });
    expect(handle.kind).toBe('nv');
    await esys.setAuth({ handle, auth: indexAuth });
    return handle;
  }

  it('defines, writes, reads, locks and undefines an ordinary index', async () => {
    const nvIndex = await define(0x0150_0001, TPM_NT.ordinary, 32, TPMA_NV.writeStClear);
    expect(await rcOf(esys.nvRead({ auth: owner, nvIndex, size: 4, offset: 0 }))).toBe(UNINITIALIZED);
    await esys.nvWrite({
      auth: owner,
      nvIndex,
      data: Buffer.from('0123456789abcdef0123456789abcdef'),
      offset: 0,
    });
    await esys.nvWrite({ auth: nvIndex, nvIndex, data: Buffer.from('XY'), offset: 4 });
    expect((await esys.nvRead({ auth: nvIndex, nvIndex, size: 8, offset: 2 })).toString()).toBe('23XY6789');
    expect(tpm.tool('tpm2_nvread', '0x1500001', '-C', 'o', '-s', '8')).toBe('0123XY67');

    const { nvPublic, name } = await esys.nvReadPublic({ nvIndex });
    const parsed = parseNvPublic(nvPublic);
    expect(parsed).toMatchObject({ nvIndex: 0x0150_0001, dataSize: 32 });
    expect(parsed.attributes & TPMA_NV.written).not.toBe(0);
    expect(Buffer.from(nvName(parsed))).toEqual(name);
    expect(await esys.getName(nvIndex)).toEqual(name);

    await esys.nvWriteLock({ auth: owner, nvIndex });
    expect(await rcOf(esys.nvWrite({ auth: owner, nvIndex, data: Buffer.from('Z'), offset: 0 }))).toBe(
      LOCKED,
    );
    await esys.nvUndefineSpace({ auth: owner, nvIndex });
    expect(await rcOf(esys.nvReadPublic({ nvIndex }))).toBe(0x7_0018);
    expect(tpm.tool('tpm2_getcap', 'handles-nv-index')).not.toContain('0x1500001');
  });

  it('counts up, never back, and finds the index again', async () => {
    const nvIndex = await define(0x0150_0002, TPM_NT.counter, 8);
    for (let i = 0; i < 3; i += 1) await esys.nvIncrement({ auth: nvIndex, nvIndex });
    const before = (await esys.nvRead({ auth: owner, nvIndex, size: 8, offset: 0 })).readBigUInt64BE();
    await esys.closeHandle(nvIndex);
    const again = await esys.fromTpmHandle({ tpmHandle: 0x0150_0002 });
    expect(again.kind).toBe('nv');
    await esys.nvIncrement({ auth: owner, nvIndex: again });
    const after = (await esys.nvRead({ auth: owner, nvIndex: again, size: 8, offset: 0 })).readBigUInt64BE();
    expect(after - before).toBe(1n);
  });

  it('certifies an index by the AK', async () => {
    const ak = await createAk(esys);
    const nvIndex = await define(0x0150_0003, TPM_NT.counter, 8);
    await esys.nvIncrement({ auth: owner, nvIndex });
    const qualifyingData = randomBytes(32);
    const request = { signer: ak, auth: owner, nvIndex, qualifyingData, size: 8, offset: 0 };
    const { attest, signature } = await esys.nvCertify(request);
    const area = parsePublicArea((await esys.readPublic({ object: ak })).outPublic);
    expect(verifyTpmSignature(area, attest, signature)).toBe(true);
    const value = await esys.nvRead({ auth: owner, nvIndex, size: 8, offset: 0 });
    expect(parseAttest(new Uint8Array(attest))).toMatchObject({
      type: 'nv',
      extraData: new Uint8Array(qualifyingData),
      indexName: new Uint8Array(await esys.getName(nvIndex)),
      nvContents: new Uint8Array(value),
    });
    await esys.flushContext(ak);
  });

  it('extends an index like a PCR, and sets bits for good', async () => {
    const extend = await define(0x0150_0004, TPM_NT.extend, 32);
    const data = Buffer.from('an event');
    await esys.nvExtend({ auth: owner, nvIndex: extend, data });
    const expected = createHash('sha256').update(new Uint8Array(32)).update(data).digest();
    expect(await esys.nvRead({ auth: owner, nvIndex: extend, size: 32, offset: 0 })).toEqual(expected);

    const bits = await define(0x0150_0005, TPM_NT.bits, 8);
    await esys.nvSetBits({ auth: owner, nvIndex: bits, bits: 1n });
    await esys.nvSetBits({ auth: owner, nvIndex: bits, bits: 1n << 63n });
    const value = await esys.nvRead({ auth: owner, nvIndex: bits, size: 8, offset: 0 });
    expect(value.toString('hex')).toBe('8000000000000001');
    await expect(esys.nvSetBits({ auth: owner, nvIndex: bits, bits: 1n << 64n })).rejects.toThrow(TypeError);
    await expect(esys.nvSetBits({ auth: owner, nvIndex: bits, bits: -1n })).rejects.toThrow(TypeError);
  });

  it('refuses the wrong auth value', async () => {
    const nvIndex = await define(0x0150_0006, TPM_NT.ordinary, 4);
    await esys.nvWrite({ auth: nvIndex, nvIndex, data: Buffer.from('data'), offset: 0 });
    await esys.setAuth({ handle: nvIndex, auth: randomBytes(20) });
    expect(await rcOf(esys.nvRead({ auth: nvIndex, nvIndex, size: 4, offset: 0 }))).toBe(0x9a2); // BAD_AUTH
  });
});
