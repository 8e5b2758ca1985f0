import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMANENT, pcrHandle, type EsysConnection } from '../../src/backend/tpm/esys.ts';
import { TPM_CAP, TPM_PT } from '../../src/wire/tpm/constants.ts';
import { parsePcrSelection, serializePcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import { createSrk, rcOf, sha256DigestValues, startTpm, type TestTpm } from '../support/esys.ts';

describe('the TPM itself', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;

  beforeAll(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
  });
  afterAll(() => tpm.stop());

  it('starts up, tests itself, tells the time and gives random octets', async () => {
    await esys.startup('clear'); // ESYS takes TPM_RC_INITIALIZE as success
    await esys.selfTest(true);
    const first = await esys.readClock(); // TPMS_TIME_INFO: time, clock, resetCount, restartCount, safe
    expect(first).toHaveLength(25);
    expect((await esys.readClock()).readBigUInt64BE(0)).toBeGreaterThanOrEqual(first.readBigUInt64BE(0));
    const random = await esys.getRandom(32);
    expect(random).toHaveLength(32);
    expect(await esys.getRandom(32)).not.toEqual(random);
    await expect(esys.getRandom(70_000)).rejects.toThrow(TypeError);
  });

  it('tells its properties, as many as asked', async () => {
    const property = TPM_PT.MANUFACTURER;
    const { moreData, capabilityData } = await esys.getCapability({
      capability: TPM_CAP.TPM_PROPERTIES,
      property,
      count: 1,
    });
    expect(moreData).toBe(true);
    expect(capabilityData.toString('hex', 0, 12)).toBe('000000060000000100000105');
    expect(capabilityData.toString('latin1', 12)).toBe('IBM\0');
  });

  it('extends and reads PCRs', async () => {
    const selection = serializePcrSelection([{ bank: 'sha256', pcrs: [16] }]);
    const before = await esys.pcrRead(selection);
    expect(before.values).toEqual([Buffer.alloc(32)]);
    const digest = randomBytes(32);
    await esys.pcrExtend({ pcr: pcrHandle(16), digests: sha256DigestValues(digest) });
    const after = await esys.pcrRead(selection);
    const expected = createHash('sha256').update(new Uint8Array(32)).update(digest).digest();
    expect(after.values).toEqual([expected]);
    expect(parsePcrSelection(after.pcrSelection)).toEqual([{ bank: 'sha256', pcrs: [16] }]);
    expect(tpm.tool('tpm2_pcrread', 'sha256:16').toLowerCase()).toContain(expected.toString('hex'));
  });

  it('answers at most eight PCR values at once and says which', async () => {
    const pcrs = Array.from({ length: 24 }, (_, index) => index);
    const read = await esys.pcrRead(serializePcrSelection([{ bank: 'sha256', pcrs }]));
    expect(read.values).toHaveLength(8);
    expect(parsePcrSelection(read.pcrSelection)).toEqual([{ bank: 'sha256', pcrs: pcrs.slice(0, 8) }]);
  });

  it('resets the dictionary attack counter and clears the owner’s keys', async () => {
    await esys.dictionaryAttackLockReset({ auth: PERMANENT.lockout });
    const srk = await createSrk(esys);
    const name = await esys.getName(srk);
    await esys.clear({ auth: PERMANENT.lockout });
    expect(await rcOf(esys.readPublic({ object: srk }))).toBe(0x910); // the TPM has flushed it
    await esys.closeHandle(srk);
    const other = await createSrk(esys);
    expect(await esys.getName(other)).not.toEqual(name);
    await esys.flushContext(other);
  });

  it('shuts down for a resume, after which PCRs are kept', async () => {
    const selection = serializePcrSelection([{ bank: 'sha256', pcrs: [10] }]);
    await esys.pcrExtend({ pcr: pcrHandle(10), digests: sha256DigestValues(randomBytes(32)) });
    const before = await esys.pcrRead(selection);
    await esys.shutdown('state');
    await tpm.swtpm.restart({ startup: 'state' });
    expect((await esys.pcrRead(selection)).values).toEqual(before.values);
    await tpm.swtpm.restart();
    expect((await esys.pcrRead(selection)).values).toEqual([Buffer.alloc(32)]);
  });
});
