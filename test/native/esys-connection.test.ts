import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EsysConnection, PERMANENT, TssFault } from '../../src/backend/tpm/esys.ts';
import { KeydError } from '../../src/wire/problem.ts';
import { parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { verifyTpmSignature } from '../../src/wire/tpm/signature.ts';
import { signingKeyTemplate } from '../../src/wire/tpm/templates.ts';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { codeOfAsync } from '../support/code-of.ts';
import { createSigningKey, createSrk, rcOf, startTpm, type TestTpm } from '../support/esys.ts';
import { startSlowTpm } from '../../scripts/sandbox/slow-tpm.ts';

const TCTI_IO_ERROR = 0xa_000a;
const TCTI_NO_CONNECTION = 0xa_0008;
const BAD_TR = 0x7_0018;

describe('EsysConnection', () => {
  let tpm: TestTpm;
  let esys: EsysConnection;

  beforeEach(async () => {
    tpm = await startTpm();
    esys = tpm.esys;
  });
  afterEach(() => tpm.stop());

  it('serves 64 parallel callers, each with its own answer', async () => {
    const key = await createSigningKey(esys, await createSrk(esys));
    const area = parsePublicArea((await esys.readPublic({ object: key })).outPublic);
    const callers = Array.from({ length: 64 }, async (_, caller) => {
      for (let round = 0; round < 3; round += 1) {
        const message = Buffer.from(`caller ${caller} round ${round}`);
        const digest = createHash('sha256').update(message).digest();
        const [signature, random] = await Promise.all([
          esys.sign({ key, digest }),
          esys.getRandom(caller + 1),
        ]);
        // The TPM gives at most a digest's length.
        expect(random).toHaveLength(Math.min(caller + 1, 64));
        expect(verifyTpmSignature(area, message, signature)).toBe(true);
      }
    });
    await Promise.all(callers);
    expect(esys.isDead).toBe(false);
  });

  it('serves several connections to one TPM', async () => {
    const others = await Promise.all([1, 2, 3].map(() => EsysConnection.open(tpm.swtpm.tcti)));
    const rounds = Array.from({ length: 20 }, () => others.map((other) => other.getRandom(8))).flat();
    expect(await Promise.all(rounds)).toHaveLength(60);
    await Promise.all(others.map((other) => other.close()));
  });

  it('takes back what the TPM has not begun, and lets end what it has', async () => {
    const begun = Promise.withResolvers<undefined>();
    const abandoned = Promise.withResolvers<undefined>();
    // The TPM is at the first of them until the others have been abandoned.
    const slow = await startSlowTpm({
      tpmSocket: join(tpm.swtpm.dir, 'tpm'),
      socket: join(tpm.swtpm.dir, 'slow'),
      hold: () => {
        begun.resolve(undefined);
        return abandoned.promise;
      },
    });
    const held = await EsysConnection.open(slow.tcti);
    try {
      const key = await createSigningKey(held, await createSrk(held));
      const digest = createHash('sha256').update('octets').digest();
      const callers = Array.from({ length: 8 }, () => new AbortController());
      const asked = callers.map(({ signal }) => held.sign({ key, digest }, signal));
      const codes = Promise.all(asked.map((each) => codeOfAsync(() => each)));
      await begun.promise;
      for (const caller of callers) caller.abort(new KeydError('deadline_exceeded', 'too late'));
      abandoned.resolve(undefined);
      const [first, ...others] = await codes;
      expect(first).toBeUndefined();
      expect(others).toHaveLength(7);
      expect(new Set(others)).toEqual(new Set(['deadline_exceeded']));
      expect(slow.signs).toBe(1);
      await expect(held.sign({ key, digest }, AbortSignal.abort())).rejects.toMatchObject({
        code: 'caller_gone',
      });
      expect(await held.sign({ key, digest })).toBeInstanceOf(Uint8Array);
    } finally {
      await held.close();
      await slow.stop();
    }
  });

  it('refuses what its queue can not hold, and serves what it holds', async () => {
    const small = await EsysConnection.open(tpm.swtpm.tcti, { queueLimit: 4 });
    const results = await Promise.allSettled(Array.from({ length: 64 }, () => small.getRandom(8)));
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(results.length - refused.length).toBeGreaterThanOrEqual(4);
    for (const { reason } of refused) {
      expect(reason).toBeInstanceOf(KeydError);
      expect(reason).toMatchObject({ code: 'too_many_requests', retryAfterSeconds: 1 });
    }
    expect(await small.getRandom(8)).toHaveLength(8);
    // Closing is always possible.
    const last = Promise.allSettled(Array.from({ length: 16 }, () => small.getRandom(8)));
    await small.close();
    expect((await last).filter((result) => result.status === 'fulfilled').length).toBeGreaterThanOrEqual(4);
  });

  it('is dead when the TPM has gone, and serves again after reopen, with old handles void', async () => {
    const srk = await createSrk(esys);
    await tpm.swtpm.kill9();
    expect(await rcOf(esys.getRandom(8))).toBe(TCTI_IO_ERROR);
    expect(esys.isDead).toBe(true);
    expect(await rcOf(esys.getRandom(8))).toBe(TCTI_NO_CONNECTION);
    expect(await rcOf(esys.reopen())).toBe(TCTI_IO_ERROR);
    expect(esys.isDead).toBe(true);

    await tpm.swtpm.restart();
    expect(await rcOf(esys.getRandom(8))).toBe(TCTI_NO_CONNECTION);
    await esys.reopen();
    expect(esys.isDead).toBe(false);
    expect(await esys.getRandom(8)).toHaveLength(8);
    expect(await rcOf(esys.readPublic({ object: srk }))).toBe(BAD_TR);
    await createSrk(esys);
  });

  it('fails what is queued when the TPM goes, each with its own call', async () => {
    const inPublic = signingKeyTemplate('RS256');
    const parent = await createSrk(esys);
    const creations = [1, 2, 3].map(() => esys.create({ parent, inPublic }));
    const outcomes = Promise.allSettled([...creations, esys.getRandom(8)]);
    await tpm.swtpm.kill9();
    const [, , third, random] = await outcomes;
    expect(third).toMatchObject({ status: 'rejected', reason: { call: 'Esys_Create' } });
    expect(random).toMatchObject({
      status: 'rejected',
      reason: { call: 'Esys_GetRandom', rc: TCTI_NO_CONNECTION },
    });
    await tpm.swtpm.restart();
  });

  it('does not open what is no TPM', async () => {
    const nothing = EsysConnection.open(`swtpm:path=${tpm.swtpm.dir}/none`);
    await expect(nothing).rejects.toMatchObject({ call: 'Tss2_TctiLdr_Initialize', rc: TCTI_IO_ERROR });
    await expect(EsysConnection.open('unheard-of:x')).rejects.toBeInstanceOf(TssFault);
    for (const tcti of ['', 'swtpm:\0', 'x'.repeat(2000)]) {
      await expect(EsysConnection.open(tcti)).rejects.toThrow(TypeError);
    }
    for (const queueLimit of [0, -1, Number.NaN]) {
      await expect(EsysConnection.open(tpm.swtpm.tcti, { queueLimit })).rejects.toThrow(TypeError);
    }
  });

  it('ends what is queued before it closes, and then refuses', async () => {
    const random = [esys.getRandom(8), esys.getRandom(8)];
    const closing = [esys.close(), esys.close()];
    expect(await codeOfAsync(() => esys.getRandom(8))).toBe('tpm_unavailable');
    expect(await Promise.all(random)).toHaveLength(2);
    await Promise.all(closing);
    expect(esys.isDead).toBe(true);
    expect(await codeOfAsync(() => esys.reopen())).toBe('tpm_unavailable');
  });

  it('flushes what is loaded when it closes', async () => {
    await createSrk(esys);
    await esys.startAuthSession({ type: 'hmac', symmetric: 'none', authHash: 0x000b });
    expect(tpm.tool('tpm2_getcap', 'handles-transient')).toContain('0x80000000');
    await esys.close();
    expect(tpm.tool('tpm2_getcap', 'handles-transient')).toBe('');
    expect(tpm.tool('tpm2_getcap', 'handles-loaded-session')).toBe('');
  });

  it('refuses a handle of another connection', async () => {
    const other = await EsysConnection.open(tpm.swtpm.tcti);
    const foreign = await createSrk(other);
    await createSrk(esys); // has the same number here
    await expect(esys.readPublic({ object: foreign })).rejects.toThrow(TypeError);
    const sessions = [{ session: foreign }];
    await expect(esys.clear({ auth: PERMANENT.platform, sessions })).rejects.toThrow(TypeError);
    await other.close();
  });

  it('refuses wrong types by name and stays usable', async () => {
    const key = await createSrk(esys);
    const call = esys as unknown as Record<string, (args: unknown) => Promise<unknown>>;
    const digest = new Uint8Array(32);
    const wrong: readonly [string, unknown, string][] = [
      ['sign', undefined, 'key'],
      ['sign', { key, digest: 'text' }, 'digest'],
      ['sign', { key, digest: new Uint16Array(16) }, 'digest'],
      ['sign', { key, digest: new DataView(new ArrayBuffer(32)) }, 'digest'],
      ['sign', { key, digest: [1, 2, 3] }, 'digest'],
      ['sign', { key, digest: new Uint8Array(65) }, 'digest'],
      ['sign', { key: -1, digest }, 'key'],
      ['sign', { key: 1.5, digest }, 'key'],
      ['sign', { key: {}, digest }, 'key'],
      ['sign', { key, digest, sessions: 'x' }, 'sessions'],
      ['sign', { key, digest, sessions: [undefined, undefined, undefined, undefined] }, 'sessions'],
      ['sign', { key, digest, inScheme: null }, 'inScheme'],
      ['getCapability', { capability: '1', property: 0, count: 1 }, 'capability'],
      ['getCapability', { capability: 2 ** 32, property: 0, count: 1 }, 'capability'],
      ['getCapability', { capability: 1, property: -1, count: 1 }, 'property'],
      ['policyOr', { policySession: key, branches: [1] }, 'branches'],
      ['setCommandCodeAuditStatus', { auth: key, auditAlg: 0, setList: ['x'], clearList: [] }, 'setList'],
      ['policyOr', { policySession: key, branches: Array(9).fill(digest) }, 'branches'],
    ];
    for (const [method, args, named] of wrong) {
      const refused = call[method]?.(args ?? {});
      await expect(refused, `${method} ${named}`).rejects.toThrow(TypeError);
      await expect(call[method]?.(args ?? {})).rejects.toThrow(named);
    }
    await expect(esys.selfTest(1 as unknown as boolean)).rejects.toThrow(TypeError);
    await expect(esys.startup('x' as 'clear')).rejects.toThrow(TypeError);
    const detached = new Uint8Array(32);
    structuredClone(detached, { transfer: [detached.buffer] });
    expect(await rcOf(esys.sign({ key, digest: detached }))).toBeGreaterThan(0); // as long as it is: empty
    expect(await esys.getRandom(8)).toHaveLength(8);
  });

  it('refuses octets that are not the structure, at every length', async () => {
    const parent = await createSrk(esys);
    const inPublic = signingKeyTemplate('ES256');
    for (let length = 0; length < inPublic.length; length += 1) {
      await expect(esys.create({ parent, inPublic: inPublic.subarray(0, length) })).rejects.toMatchObject({
        call: 'Tss2_MU_TPMT_PUBLIC_Unmarshal',
      });
    }
    const trailing = Buffer.concat([inPublic, Buffer.of(0)]);
    await expect(esys.create({ parent, inPublic: trailing })).rejects.toMatchObject({ rc: 0x9_0010 });
  });
});
