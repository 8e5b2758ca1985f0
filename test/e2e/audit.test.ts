/** `agentkey audit` against a whole sandbox: what was signed stands in the log, proven by the key in its TPM alone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { programFile } from '../../scripts/sandbox/programs.ts';
import type { AuditEntry } from '../../src/verify/index.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';
import { makeTempDir } from '../support/temp-dir.ts';

let sandbox: TestSandbox;
let temp: Awaited<ReturnType<typeof makeTempDir>>;
beforeAll(async () => {
  temp = await makeTempDir();
  sandbox = await startSandbox();
}, 120_000);
afterAll(async () => {
  await sandbox.remove();
  await temp.remove();
}, 60_000);

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function agentkey(...args: string[]): Promise<Ended> {
  const { socket, adminSocket } = sandbox.description;
  const env = { PATH: process.env['PATH'], AGENTKEYD_SOCKET: socket, AGENTKEYD_ADMIN_SOCKET: adminSocket };
  const child = spawn(process.execPath, [programFile('cli'), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), 40_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, out, err };
}

async function told(...args: string[]): Promise<string> {
  const { code, out, err } = await agentkey(...args);
  expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' });
  return out;
}

async function entries(): Promise<readonly AuditEntry[]> {
  const lines = (await told('--json', 'audit', 'tail', '-n', '1000')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as AuditEntry);
}

describe('the audit log of a sandbox', () => {
  it('has the decision and the outcome of a signature, and nothing secret', async () => {
    await told('agent', 'create', 'audited');
    await told(
      'sign',
      'http',
      'audited',
      'POST',
      'https://api.example/pay?token=hush',
      '-d',
      '{"secret":"hush"}',
    );
    const all = await entries();
    const decision = all.findLast((entry) => entry.kind === 'decision' && entry.action === 'http-message');
    expect(decision).toMatchObject({ effect: 'permit', parameters: { method: 'POST', path: '/pay' } });
    const outcome = all.findLast((entry) => entry.kind === 'outcome' && entry.decision === decision?.index);
    expect(outcome).toMatchObject({ effect: 'done' });
    expect(JSON.stringify(all)).not.toContain('hush');
  });

  it('verifies: asked, exported, and one entry by its proof', async () => {
    const [key, file, proof] = ['key', 'export', 'proof'].map((name) => join(temp.path, name)) as [
      string,
      string,
      string,
    ];
    expect(await told('audit', 'verify')).toMatch(/^sound: /);
    await writeFile(key, await told('audit', 'key'));
    await told('audit', 'export', '--output', file);
    expect(await told('audit', 'verify', file, '--key', key)).toMatch(/^sound: /);
    await writeFile(proof, await told('audit', 'prove', '1'));
    expect(await told('audit', 'verify', '--proof', proof, '--key', key)).toContain('proven: entry 1 of ');

    await writeFile(file, (await readFile(file, 'utf8')).replace('/pay"', '/bay"'));
    const { code, out } = await agentkey('audit', 'verify', file, '--key', key);
    expect(code).toBe(1);
    expect(out).toContain('entry_changed');
    const later = await agentkey('audit', 'show', '1000000');
    expect(later.code).toBe(4);
  });
});
