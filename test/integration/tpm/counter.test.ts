/** The NV counter of this host on a real TPM: what it is, who moves it, and every way it can be lost or replaced. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MonotonicCounter } from '../../../src/backend/counter.ts';
import { AuthDeriver } from '../../../src/backend/tpm/key-auth.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { parseAttest } from '../../../src/wire/tpm/attest.ts';
import { auditCounterFault } from '../../../src/wire/tpm/audit-counter.ts';
import { nvName, parseNvPublic } from '../../../src/wire/tpm/nv-public.ts';
import { parsePublicArea } from '../../../src/wire/tpm/public-area.ts';
import { verifyTpmSignature } from '../../../src/wire/tpm/signature.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { tpm2Tools } from '../../support/tpm2-tools.ts';

const INDEX = 0x0180_a6e7;
const HEX = '0x180a6e7';

let tpm: TestSwtpm;
let host: TpmHost;
const open: TpmBackend[] = [];

beforeEach(async () => {
  tpm = await startSwtpm();
  host = new TpmHost(tpm.tcti);
});
afterEach(async () => {
  await closeAll();
  await tpm.stop();
});

async function closeAll(): Promise<void> {
  for (const backend of open.splice(0)) await backend.close();
}

/** What a daemon has that was just started on this host's state. */
async function start(
  sessionProtection: 'password' | 'salted' = 'password',
  of: TpmHost = host,
): Promise<MonotonicCounter> {
  const backend = await of.open({ sessionProtection });
  open.push(backend);
  return backend.counter(of.counterMemory, INDEX);
}

describe.each(['password', 'salted'] as const)('the counter, by %s sessions', (protection) => {
  it('is defined once, counts up by one, and is certified by the AK', async () => {
    const counter = await start(protection);
    const first = await counter.read();
    expect(first.isNew).toBe(true);
    const nv = parseNvPublic(first.nvPublic);
    expect(auditCounterFault(nv)).toBeUndefined();
    await counter.increment(first.value);
    expect(await counter.read()).toMatchObject({ value: first.value + 1n, isNew: false });

    const qualifyingData = randomBytes(32);
    const { attest, signature, value } = await counter.certify(qualifyingData);
    expect(value).toBe(first.value + 1n);
    const [backend] = open;
    const ak = parsePublicArea((await backend?.attester.attestationKey()) ?? new Uint8Array());
    expect(verifyTpmSignature(ak, attest, signature)).toBe(true);
    expect(parseAttest(attest)).toMatchObject({
      type: 'nv',
      indexName: new Uint8Array(nvName(nv)),
      extraData: new Uint8Array(qualifyingData),
    });

    await closeAll();
    expect(await (await start(protection)).read()).toMatchObject({ value: first.value + 1n, isNew: false });
  });

  it('is not moved by who does not have the auth value, nor from another value than it has', async () => {
    const counter = await start(protection);
    const { value } = await counter.read();
    await expect(tpm2Tools(tpm, [['tpm2_nvincrement', '-C', 'o', HEX]])).rejects.toThrow();
    await expect(tpm2Tools(tpm, [['tpm2_nvincrement', HEX]])).rejects.toThrow();
    expect(await codeOfAsync(() => counter.increment(value + 1n))).toBe('ledger_rolled_back');
    expect(await codeOfAsync(() => counter.increment(value - 1n))).toBe('ledger_rolled_back');
    expect((await counter.read()).value).toBe(value);
  });
});

describe('a counter that is lost or replaced', () => {
  it('survives a power loss without a step', async () => {
    const counter = await start();
    const { value } = await counter.read();
    await counter.increment(value);
    await tpm.kill9();
    await tpm.restart();
    expect((await counter.read()).value).toBe(value + 1n);
  });

  it('is tpm_counter_gone once removed, until it is adopted; its values go on upwards', async () => {
    const counter = await start();
    const { value } = await counter.read();
    await counter.increment(value);
    await tpm2Tools(tpm, [['tpm2_nvundefine', '-C', 'o', HEX]]);
    for (const work of [
      () => counter.read(),
      () => counter.increment(value + 1n),
      () => counter.certify(randomBytes(32)),
    ])
      expect(await codeOfAsync(work)).toBe('tpm_counter_gone');
    const adopted = await counter.adopt();
    expect(adopted.isNew).toBe(false);
    expect(adopted.value).toBeGreaterThan(value + 1n);
    expect((await counter.read()).value).toBe(adopted.value);
  });

  it('does not survive TPM2_Clear', async () => {
    const counter = await start();
    const { value } = await counter.read();
    await tpm2Tools(tpm, [['tpm2_clear', '-c', 'p']]);
    expect(await codeOfAsync(() => counter.read())).toBe('tpm_counter_gone');
    await open[0]?.adoptTpm();
    expect(await codeOfAsync(() => counter.read())).toBe('tpm_counter_gone');
    expect((await counter.adopt()).value).toBeGreaterThan(value);
  });

  it.each([
    ['of another kind', ['-a', 'ownerwrite|ownerread|authread|authwrite|no_da', '-s', '8']],
    ['whose owner may increment it', ['-a', 'nt=counter|ownerwrite|ownerread|authread|authwrite|no_da']],
    ['that is orderly', ['-a', 'nt=counter|ownerread|authread|authwrite|no_da|orderly']],
    ['of the same form that was never written', ['-a', 'nt=counter|ownerread|authread|authwrite|no_da']],
  ])('is tpm_counter_foreign with an index in its place %s', async (_, how) => {
    const counter = await start();
    const { value } = await counter.read();
    // Not even by somebody who knows our auth value.
    const auth = Buffer.from(new AuthDeriver(host.secret).counterAuth()).toString();
    await tpm2Tools(tpm, [
      ['tpm2_nvundefine', '-C', 'o', HEX],
      ['tpm2_nvdefine', '-C', 'o', HEX, ...how, '-p', auth],
    ]);
    expect(await codeOfAsync(() => counter.read())).toBe('tpm_counter_foreign');
    expect(await codeOfAsync(() => counter.increment(value))).toBe('tpm_counter_foreign');
    // Nor does an operator's word make another index the counter, but one that is new and of the one form.
    const isOfTheForm = how.includes('nt=counter|ownerread|authread|authwrite|no_da');
    expect(await codeOfAsync(() => counter.adopt())).toBe(isOfTheForm ? undefined : 'tpm_counter_foreign');
  });

  it('is tpm_counter_foreign with one of the same Name that does not know our auth value', async () => {
    const counter = await start();
    const { value } = await counter.read();
    await tpm2Tools(tpm, [
      ['tpm2_nvundefine', '-C', 'o', HEX],
      [
        'tpm2_nvdefine',
        '-C',
        'o',
        HEX,
        '-a',
        'nt=counter|ownerread|authread|authwrite|no_da',
        '-p',
        'theirs',
      ],
      ['tpm2_nvincrement', HEX, '-P', 'theirs'],
    ]);
    expect(await codeOfAsync(() => counter.read())).toBe('tpm_counter_foreign');
    expect(await codeOfAsync(() => counter.increment(value))).toBe('tpm_counter_foreign');
  });

  it('an index that was there before is not taken at first use', async () => {
    await tpm2Tools(tpm, [
      [
        'tpm2_nvdefine',
        '-C',
        'o',
        HEX,
        '-a',
        'nt=counter|ownerread|authread|authwrite|no_da',
        '-p',
        'theirs',
      ],
    ]);
    expect(await codeOfAsync(async () => (await start()).read())).toBe('tpm_counter_foreign');
  });

  it('S8: a state that forgot its counter is no new beginning', async () => {
    const counter = await start();
    await counter.increment((await counter.read()).value);
    await closeAll();
    host.counterMemory.counter = undefined;
    expect(await codeOfAsync(async () => (await start()).read())).toBe('tpm_counter_foreign');
  });
});

describe('a crash while it is made', () => {
  it('before it is defined, or before it is first incremented, is gone over', async () => {
    const defining = { state: 'defining', nvIndex: INDEX, sinceMs: 1 } as const;
    host.counterMemory.counter = defining;
    const { value } = await (await start()).read();
    await closeAll();

    const auth = Buffer.from(new AuthDeriver(host.secret).counterAuth()).toString();
    await tpm2Tools(tpm, [
      ['tpm2_nvundefine', '-C', 'o', HEX],
      ['tpm2_nvdefine', '-C', 'o', HEX, '-a', 'nt=counter|ownerread|authread|authwrite|no_da', '-p', auth],
    ]);
    host.counterMemory.counter = defining;
    const again = await (await start()).read();
    expect(again.isNew).toBe(true);
    expect(again.value).toBeGreaterThan(value);
  });

  it('S8: after it was incremented can not be told from an older copy, and asks an operator', async () => {
    host.counterMemory.onSave = ({ state }) => {
      if (state === 'in-use') throw new Error('crash');
    };
    await expect((await start()).read()).rejects.toThrow('crash');
    await closeAll();
    host.counterMemory.onSave = () => undefined;
    const counter = await start();
    expect(await codeOfAsync(() => counter.read())).toBe('tpm_counter_foreign');
    expect((await counter.adopt()).isNew).toBe(false);
    expect((await counter.read()).isNew).toBe(false);
  });
});
