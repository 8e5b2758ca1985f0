import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { VerifyStage } from './programs/verify-lifecycle.ts';

const run = promisify(execFile);
const OPTIONS = { timeout: 60_000 };
const STAGES: readonly VerifyStage[] = [
  'loaded',
  'idle',
  'queued',
  'answered',
  'dropped',
  'closing',
  'closed',
];

function program(name: string): string {
  return fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
}

describe('the end of an environment with a verification thread', () => {
  // What becomes of the questions where the event loop runs dry; where the process exits, nobody is told.
  it.each([
    ['loaded', { yes: 0, no: 0, refused: 0 }],
    ['idle', { yes: 0, no: 0, refused: 0 }],
    ['queued', { yes: 2000, no: 0, refused: 0 }],
    ['answered', { yes: 20, no: 0, refused: 0 }],
    ['dropped', { yes: 2000, no: 0, refused: 0 }],
    ['closing', { yes: 0, no: 0, refused: 2000 }],
    ['closed', { yes: 0, no: 0, refused: 0 }],
  ] as const satisfies readonly (readonly [VerifyStage, object])[])(
    'of a process that runs dry, %s: every open question is settled first',
    async (stage, outcomes) => {
      const { stdout, stderr } = await run(
        process.execPath,
        [program('verify-lifecycle'), stage, 'dry'],
        OPTIONS,
      );
      expect({ outcomes: JSON.parse(stdout) as unknown, stderr }).toEqual({ outcomes, stderr: '' });
    },
  );

  it.each(STAGES)('of a process that exits, %s: exit status 0', async (stage) => {
    const args = [program('verify-lifecycle'), stage, 'exit'];
    expect(await run(process.execPath, args, OPTIONS)).toEqual({ stdout: '', stderr: '' });
  });

  it.each(['dry', 'exit', 'terminate'])(
    'of workers (%s) at every stage: the process lives on, and its own thread',
    async (ending) => {
      const args = [program('verify-workers'), ending, ...STAGES];
      const { stdout } = await run(process.execPath, args, OPTIONS);
      expect(stdout.trim().split('\n')).toEqual(STAGES.map((stage) => `${stage} ended`));
    },
  );
});

it('keys and threads under garbage collection: kept while questions are open, then gone, memory bounded', async () => {
  const args = ['--expose-gc', program('verify-garbage')];
  const { stdout } = await run(process.execPath, args, OPTIONS);
  expect(stdout.trim().split('\n')).toEqual(['keys', 'threads', 'forgotten', 'memory']);
});
