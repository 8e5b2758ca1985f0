/** The sandbox of issue 2 §1: what it writes, what it keeps, and that nothing of it is left behind. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { connect, type AgentKeyClient } from '../../src/client/index.ts';
import {
  descendants,
  end,
  hasEnded,
  leftAfter,
  spawnSandbox,
  startSandbox,
  type SandboxOptions,
  type TestSandbox,
} from '../support/sandbox.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const run = promisify(execFile);
const GONE_MS = 10_000;

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function tempDir(): Promise<TempDir> {
  const temp = await makeTempDir();
  cleanUps.push(() => temp.remove());
  return temp;
}

async function start(options: SandboxOptions): Promise<TestSandbox> {
  const sandbox = await startSandbox(options);
  cleanUps.push(() => sandbox.remove());
  return sandbox;
}

function clientOf({ description }: TestSandbox): AgentKeyClient {
  const client = connect({ socketPath: description.socket });
  cleanUps.push(() => {
    client.close();
    return Promise.resolve();
  });
  return client;
}

describe('sandbox', { timeout: 240_000 }, () => {
  it('writes what is needed to use it, keeps keys and agents over a restart, and leaves nothing behind', async () => {
    const { path: dir } = await tempDir();
    const first = await start({ dir });
    const { description } = first;

    expect(description).toMatchObject({
      ready: true,
      socket: join(dir, 'daemon/run/agentkeyd.sock'),
      adminSocket: join(dir, 'daemon/run-admin/agentkeyd.sock'),
      issuer: 'https://issuer.sandbox.test',
      trustDomain: 'sandbox.test',
      tcti: `swtpm:path=${join(dir, 'tpm/tpm')}`,
    });
    expect(description.issuerUrl).toMatch(/^https:\/\/localhost:\d+$/);
    for (const file of [description.issuerCaFile, description.pkcs11Module, description.softhsm2Conf])
      expect((await stat(file)).isFile(), file).toBe(true);
    expect(Object.keys(description.pids).toSorted()).toEqual([
      'agentkey-issuer',
      'agentkeyd',
      'sandbox',
      'swtpm',
    ]);
    expect((await stat(join(dir, 'sandbox.json'))).mode & 0o077).toBe(0);

    // The env lines are pasted into a shell as they are, and a stranger's programs go by them.
    const shell = async (line: string): Promise<string> =>
      (await run('bash', ['-euc', `${description.env.join('\n')}\n${line}`])).stdout;
    expect(await shell('echo "$AGENTKEYD_SOCKET $AGENTKEYD_ADMIN_SOCKET"')).toBe(
      `${description.socket} ${description.adminSocket}\n`,
    );
    expect(await shell('curl -fsS --cacert "$AGENTKEY_ISSUER_CA" "$AGENTKEY_ISSUER_URL/readyz"')).not.toBe(
      '',
    );
    expect(await shell('tpm2_nvreadpublic')).toMatch(/0x1c0000a/i);
    expect(await shell('softhsm2-util --show-slots')).toContain(description.tokenLabel);
    expect(await shell('curl -fsS --unix-socket "$AGENTKEYD_SOCKET" http://localhost/v1/status')).toContain(
      '"enrolled"',
    );

    const client = clientOf(first);
    const tpm = await client.createAgent({ name: 'keeper', backend: 'tpm' });
    const hsm = await client.createAgent({ name: 'vault', backend: 'pkcs11', algorithm: 'Ed25519' });
    const { host } = (await client.status()) as { host: { ekSha256: string; label: string } };
    expect(host.label).toBe('sandbox-host');

    const processes = first.processes();
    const named = processes.map(({ name }) => name);
    expect(named).toContain('swtpm');
    expect(processes.length, named.join(' ')).toBeGreaterThanOrEqual(5); // module hosts are among them
    expect(await first.end('SIGTERM')).toBe(0);
    expect(await readdir(dir)).not.toContain('sandbox.json');
    expect(await leftAfter(processes, GONE_MS)).toEqual([]);

    const second = await start({ dir });
    const again = clientOf(second);
    expect(second.description).toMatchObject({
      issuerUrl: description.issuerUrl,
      tcti: description.tcti,
      socket: description.socket,
    });
    expect((await again.status())['host']).toMatchObject({ ekSha256: host.ekSha256, state: 'enrolled' });
    const agents = await again.listAgents();
    expect(agents.map(({ name, kid }) => [name, kid]).toSorted()).toEqual([
      ['keeper', tpm.kid],
      ['vault', hsm.kid],
    ]);
    for (const agent of agents)
      expect(await agent.signJwt('order+jwt', { n: 1 })).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);

    const started = second.processes();
    expect(await second.end('SIGINT')).toBe(0);
    expect(await leftAfter(started, GONE_MS)).toEqual([]);
  });

  it('ends what it has started so far when SIGTERM comes in the middle of the start', async () => {
    for (const moment of ['HSM tokens', 'issuer', 'daemon']) {
      const { path: dir } = await tempDir();
      const { child, said } = spawnSandbox(dir);
      cleanUps.push(() => end(child, 'SIGKILL'));
      while (!said().includes(`sandbox: ${moment}`)) {
        expect(hasEnded(child), said()).toBe(false);
        await delay(20);
      }
      await delay(300);
      const processes = descendants(child.pid ?? 0);
      expect(await end(child, 'SIGTERM'), moment).toBe(0);
      expect(await leftAfter(processes, GONE_MS), moment).toEqual([]);
      expect(await readdir(dir)).not.toContain('sandbox.json');
    }
  });

  it('leaves nothing running when it is killed outright', async () => {
    const sandbox = await start({});
    const processes = sandbox.processes();
    await sandbox.end('SIGKILL');
    expect(await leftAfter(processes, GONE_MS)).toEqual([]);
  });

  it('refuses a DIR that is too long for its sockets before anything is made', async () => {
    const { path } = await tempDir();
    for (const length of [80, 100, 140]) {
      const dir = join(path, 'd'.repeat(length - path.length - 1));
      const { child, said } = spawnSandbox(dir);
      cleanUps.push(() => end(child, 'SIGKILL'));
      const deadline = Date.now() + 20_000;
      while (!hasEnded(child) && Date.now() < deadline) await delay(20);
      expect(child.exitCode, said()).toBe(1);
      expect(said()).toMatch(/too long/);
      expect(said()).toContain(dir);
    }
    expect(await readdir(path)).toEqual([]);
  });

  it('needs --dir and takes nothing else', async () => {
    for (const args of [[], ['--dir'], ['--dir='], ['--dri', '/tmp/x']]) {
      const failed = await run(process.execPath, ['scripts/sandbox/main.ts', ...args]).then(
        () => undefined,
        (thrown: unknown) => thrown as { readonly code: number; readonly stderr: string },
      );
      expect(failed?.code).toBe(2);
      expect(failed?.stderr).toMatch(/^usage: npm run sandbox/m);
    }
  });

  it('runs under npm and ends with everything when npm gets SIGTERM', async () => {
    const { path: dir } = await tempDir();
    await mkdir(dir, { recursive: true });
    const sandbox = await start({ dir, command: ['npm', 'run', '--silent', 'sandbox', '--'] });
    const processes = sandbox.processes();
    expect(processes.map(({ name }) => name)).toContain('swtpm');
    const environment = await readFile(`/proc/${sandbox.description.pids['sandbox'] ?? 0}/environ`, 'utf8');
    expect(environment).toContain('AGENTKEYD_TEST_DIST=1'); // what ships is what runs
    await sandbox.end('SIGTERM');
    expect(await leftAfter(processes, GONE_MS)).toEqual([]);
  });
});
