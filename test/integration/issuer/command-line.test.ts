/** agentkey-issuer as an operator runs it: a process of its own. */
import { execFile, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  provisionIssuer,
  startIssuerProcess,
  type IssuerProcess,
  type SandboxIssuer,
} from '../../../scripts/sandbox/issuer.ts';
import { IssuerConnection } from '../../support/issuer-connection.ts';
import { makeSofthsm, USER_PIN, type TestSofthsm } from '../../support/softhsm.ts';
import { freePort } from '../../../scripts/sandbox/free-port.ts';

const MAIN = fileURLToPath(new URL('../../../src/issuer/main.ts', import.meta.url));
const EK = 'a'.repeat(64);

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let token: TestSofthsm;
let issuer: SandboxIssuer;

const agentkeyIssuer = (...args: readonly string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
const withConfig = (...args: readonly string[]) => agentkeyIssuer('--config', issuer.configFile, ...args);

beforeAll(async () => {
  token = await makeSofthsm();
  const root = join(token.dir, 'root.pem');
  await new Promise((resolve, reject) => {
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const child = spawn('openssl', [
      ...request,
      ...['-keyout', join(token.dir, 'root.key'), '-out', root, '-subj', '/CN=test root'],
    ]);
    child.on('exit', resolve);
    child.on('error', reject);
  });
  issuer = await provisionIssuer({
    dir: join(token.dir, 'issuer'),
    port: await freePort(),
    token,
    userPin: USER_PIN,
    testRootsFile: root,
    intermediatesFile: root,
    logLevel: 'info',
  });
});
afterAll(() => token.remove());

describe('agentkey-issuer', () => {
  it('explains itself, and its exit codes', async () => {
    for (const args of [
      ['--help'],
      ['serve', '--help'],
      ['hosts', 'approve', '--help'],
      ['roots', 'import', '--help'],
    ]) {
      const { code, stdout } = await agentkeyIssuer(...args);
      expect(code).toBe(0);
      expect(stdout).toContain('Usage: agentkey-issuer');
    }
    expect((await agentkeyIssuer('--help')).stdout).toMatch(/Exit codes:\s+0 {2}done/);
  });

  it('exits with 2 for a command line or a configuration that is wrong, and says everything that is', async () => {
    expect((await agentkeyIssuer('dance')).code).toBe(2);
    expect((await agentkeyIssuer('hosts', 'approve', EK)).code).toBe(2);
    const wrong = join(token.dir, 'wrong.toml');
    await writeFile(wrong, 'issuer = 1\nmore = 2\n');
    const { code, stderr } = await agentkeyIssuer('--config', wrong, 'check');
    expect(code).toBe(2);
    expect(stderr).toContain('issuer must be a string');
    expect(stderr).toContain('more is not a known member');
    expect((await agentkeyIssuer('--config', join(token.dir, 'none.toml'), 'check')).code).toBe(2);
  });

  it('does not start before its keys are made, and says what to do', async () => {
    const { code, stderr } = await withConfig('serve');
    expect(code).toBe(1);
    expect(stderr).toContain('keys init');
  });

  it('makes its keys once and prints what hosts pin', async () => {
    const first = await withConfig('keys', 'init');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout.match(/made now/g)).toHaveLength(7);
    const thumbprint = /challenge_key = "([\w-]{43})"/.exec(first.stdout)?.[1];
    const again = await withConfig('--json', 'keys', 'init');
    const { keys } = JSON.parse(again.stdout) as {
      keys: { purpose: string; thumbprint: string; made: boolean }[];
    };
    expect(keys.every(({ made }) => !made)).toBe(true);
    expect(keys.find(({ purpose }) => purpose === 'challenge')?.thumbprint).toBe(thumbprint);
  });

  it('approves a host once, and leaves the file as it was when anything is wrong', async () => {
    const approve = (ek: string, label: string, names: string) =>
      withConfig(
        'hosts',
        'approve',
        ek,
        '--label',
        label,
        '--names',
        names,
        '--principal',
        'ops@example.test',
      );
    expect((await approve(EK, 'web-1', 'pay-*')).code).toBe(0);
    const before = await readFile(issuer.hostsFile, 'utf8');
    for (const [ek, label, names] of [
      [EK, 'web-2', 'pay-*'],
      ['b'.repeat(64), 'web-1', 'pay-*'],
      ['nonsense', 'web-2', 'pay-*'],
      ['b'.repeat(64), 'Web_2', 'pay-*'],
      ['b'.repeat(64), 'web-2', 'pay+*'],
    ] as const) {
      expect((await approve(ek, label, names)).code).toBe(2);
    }
    expect(await readFile(issuer.hostsFile, 'utf8')).toBe(before);
    const { stdout } = await withConfig('--json', 'hosts', 'list');
    expect(JSON.parse(stdout)).toMatchObject({
      hosts: [{ label: 'web-1', ekSha256: EK, namePatterns: ['pay-*'], standing: null }],
      unapproved: [],
    });
    expect((await withConfig('hosts', 'list')).stdout).toContain(`approved    ${EK}  web-1: not enrolled`);
  });

  it('keeps no endorsement root that is not pinned', async () => {
    const rootsFile = join(token.dir, 'roots-kept.pem');
    const config = join(token.dir, 'with-roots.toml');
    const text = await readFile(issuer.configFile, 'utf8');
    await writeFile(config, text.replace('[appraisal]', `[appraisal]\nroots_file = "${rootsFile}"`), {
      mode: 0o600,
    });
    const { code, stdout, stderr } = await agentkeyIssuer(
      '--config',
      config,
      'roots',
      'import',
      join(token.dir, 'root.pem'),
    );
    expect(code).toBe(2);
    expect(stdout).toMatch(/^refused {2}[0-9a-f]{64}/);
    expect(stderr).toContain('nothing was written');
    await expect(readFile(rootsFile)).rejects.toThrow('ENOENT');
    // Put there by hand, it is refused as well.
    await writeFile(rootsFile, await readFile(join(token.dir, 'root.pem')));
    expect((await agentkeyIssuer('--config', config, 'check')).code).toBe(2);
  });
});

describe('agentkey-issuer serve', () => {
  let running: IssuerProcess;

  it('starts, reloads on SIGHUP, keeps what it had when the new is wrong, and stops on SIGTERM', async () => {
    running = await startIssuerProcess(issuer, { timeoutMs: 30_000, log: 'ignore' });
    const connection = new IssuerConnection(
      Number(new URL(issuer.url).port),
      await readFile(issuer.caFile, 'utf8'),
    );
    try {
      const before = await readFile(issuer.hostsFile, 'utf8');
      await writeFile(issuer.hostsFile, 'host = 1\n');
      running.reload();
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect((await connection.get('/readyz')).status).toBe(200);
      await writeFile(issuer.hostsFile, before);
      running.reload();
      expect((await connection.get('/readyz')).status).toBe(200);
    } finally {
      connection.close();
      await running.stop();
    }
    expect(isRunning(running.pid)).toBe(false);
  });

  it('starts again after a kill -9 with the same keys', async () => {
    const port = Number(new URL(issuer.url).port);
    const ca = await readFile(issuer.caFile, 'utf8');
    const published = async (): Promise<unknown> => {
      const connection = new IssuerConnection(port, ca);
      const { json } = await connection.get('/.well-known/agentkey-issuer');
      connection.close();
      return json;
    };
    running = await startIssuerProcess(issuer, { timeoutMs: 30_000, log: 'ignore' });
    const before = await published();
    process.kill(running.pid, 'SIGKILL');
    await running.stop();
    running = await startIssuerProcess(issuer, { timeoutMs: 30_000, log: 'ignore' });
    try {
      expect(await published()).toEqual(before);
    } finally {
      await running.stop();
    }
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
