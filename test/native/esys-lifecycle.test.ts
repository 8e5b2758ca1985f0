import { execFile } from 'node:child_process';
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

  it('whose TPM stopped answering comes all the same, and its thread is left behind', async () => {
    const stuck = await startTpm();
    try {
      const args = [program('stuck'), stuck.swtpm.tcti, String(stuck.swtpm.pid)];
      const { stdout } = await run(process.execPath, args, { timeout: 40_000 });
      expect(stdout).toBe('worker left\nserved\n');
    } finally {
      process.kill(stuck.swtpm.pid, 'SIGCONT');
      await stuck.stop();
    }
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
