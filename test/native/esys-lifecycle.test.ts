import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EsysConnection } from '../../src/backend/tpm/esys.ts';
import { handlesOf, startTpm, type TestTpm } from '../support/esys.ts';
import type { Stage } from './programs/lifecycle.ts';

const run = promisify(execFile);
const STAGES: readonly Stage[] = [
  'opening',
  'idle',
  'holding',
  'in-flight',
  'queued',
  'closing',
  'closed',
  'failed',
];

function program(name: string): string {
  return fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
}

describe('the end of an environment', () => {
  let tpm: TestTpm;

  beforeAll(async () => {
    tpm = await startTpm();
  });
  afterAll(() => tpm.stop());

  async function expectNothingLeft(): Promise<void> {
    expect(await handlesOf(tpm.esys, 0x8000_0000)).toEqual([]);
    expect(await handlesOf(tpm.esys, 0x0200_0000)).toEqual([]);
  }

  describe.each(['dry', 'exit'])('of a process (%s)', (ending) => {
    it.each(STAGES)('%s: exit status 0, nothing left in the TPM', async (stage) => {
      const { stdout, stderr } = await run(
        process.execPath,
        [program('lifecycle'), tpm.swtpm.tcti, stage, ending],
        {
          timeout: 30_000,
        },
      );
      expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
      await expectNothingLeft();
    });
  });

  it.each(['dry', 'exit', 'terminate'])(
    'of workers (%s) at every stage: the process lives on',
    async (ending) => {
      const args = [program('workers'), tpm.swtpm.tcti, ending, ...STAGES];
      const { stdout } = await run(process.execPath, args, { timeout: 60_000 });
      expect(stdout.trim().split('\n')).toEqual(STAGES.map((stage) => `${stage} ended`));
      await expectNothingLeft();
    },
  );

  it('of a process whose TPM does not answer: it exits all the same', async () => {
    const stuck = await startTpm();
    await stuck.esys.close();
    process.kill(stuck.swtpm.pid, 'SIGSTOP');
    const child = spawn(process.execPath, [program('lifecycle'), stuck.swtpm.tcti, 'opening', 'exit'], {
      stdio: 'ignore',
      timeout: 30_000,
    });
    expect(await once(child, 'exit')).toEqual([0, null]);
    process.kill(stuck.swtpm.pid, 'SIGCONT');
    await stuck.swtpm.stop();
  });
});

describe('garbage collection', () => {
  it('under pressure: inputs are copied, dropped handles flushed, dropped connections ended, memory bounded', async () => {
    const tpm = await startTpm();
    try {
      const { stdout } = await run(process.execPath, ['--expose-gc', program('garbage'), tpm.swtpm.tcti], {
        timeout: 60_000,
      });
      expect(stdout.trim().split('\n')).toEqual(['inputs', 'handles', 'connections', 'memory']);
      const esys = await EsysConnection.open(tpm.swtpm.tcti);
      expect(await handlesOf(esys, 0x8000_0000)).toEqual([]);
      await esys.close();
    } finally {
      await tpm.stop();
    }
  });
});
