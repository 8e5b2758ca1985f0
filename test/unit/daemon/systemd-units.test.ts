import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DAEMON_ENVIRONMENT, DAEMON_NODE_OPTIONS } from '../../../scripts/sandbox/programs.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const run = promisify(execFile);
const UNITS = join(import.meta.dirname, '../../../systemd');
const NAMES = ['agentkeyd.service', 'agentkeyd.socket', 'agentkeyd-admin.socket'];
const hasSystemd = existsSync('/usr/bin/systemd-analyze');

/** A root with our units, the system's own targets, and files where the package will put them. */
let root: TempDir;

beforeAll(async () => {
  root = await makeTempDir();
  if (!hasSystemd) return;
  const units = join(root.path, 'etc/systemd/system');
  await mkdir(units, { recursive: true });
  for (const name of NAMES) await cp(join(UNITS, name), join(units, name));
  const system = 'usr/lib/systemd/system';
  await cp(join('/', system), join(root.path, system), { recursive: true });
  for (const program of ['usr/lib/agentkeyd/bin/node', 'bin/kill', 'usr/bin/kill']) {
    const file = join(root.path, program);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '#!/bin/sh\n');
    await chmod(file, 0o755);
  }
});

afterAll(() => root.remove());

test.skipIf(!hasSystemd)('systemd-analyze verify has nothing to say', async () => {
  const { stdout, stderr } = await run('systemd-analyze', [
    'verify',
    '--man=no',
    `--root=${root.path}`,
    ...NAMES,
  ]);
  const ours = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('agentkeyd'));
  expect(ours).toEqual([]);
});

test.skipIf(!hasSystemd)('systemd-analyze verify does read the units: a planted fault is found', async () => {
  const planted = join(root.path, 'etc/systemd/system/agentkeyd-planted.service');
  const unit = await readFile(join(UNITS, 'agentkeyd.service'), 'utf8');
  await writeFile(planted, unit.replace('WatchdogSec=30', 'WatchdogSecs=30'));
  const { stderr } = await run('systemd-analyze', [
    'verify',
    '--man=no',
    `--root=${root.path}`,
    'agentkeyd-planted.service',
  ]).catch((error: unknown) => error as { stderr: string });
  expect(stderr).toMatch(/agentkeyd-planted\.service:\d+: Unknown key.*WatchdogSecs/);
});

test.skipIf(!hasSystemd)('the sandbox is rated below 2.0', async () => {
  const unit = join(UNITS, 'agentkeyd.service');
  const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--no-pager', unit]);
  const exposure = Number(/exposure level for agentkeyd\.service: ([\d.]+)/.exec(stdout)?.[1]);
  expect(exposure).toBeGreaterThan(0);
  expect(exposure).toBeLessThan(2);
});

test('what would break callers’ identity or V8 is not switched on', async () => {
  const unit = await readFile(join(UNITS, 'agentkeyd.service'), 'utf8');
  expect(unit).not.toMatch(/^(MemoryDenyWriteExecute|PrivateUsers|ProtectProc|PrivateDevices|ProcSubset)=/m);
  expect(unit).toMatch(/^Type=notify$/m);
  expect(unit).toMatch(/^CapabilityBoundingSet=$/m);
});

test('the names of sockets and credentials are those the daemon looks for', async () => {
  const [service = '', shared = '', admin = ''] = await Promise.all(
    NAMES.map((name) => readFile(join(UNITS, name), 'utf8')),
  );
  expect(shared).toMatch(/^FileDescriptorName=shared$/m);
  expect(admin).toMatch(/^FileDescriptorName=admin$/m);
  const reference = await readFile(join(UNITS, 'agentkeyd.toml'), 'utf8');
  const named = [...reference.matchAll(/credential = "([^"]+)"/g)].map(([, name]) => name ?? '');
  const loaded = [...service.matchAll(/^LoadCredentialEncrypted=(.+)$/gm)].map(([, name]) => name);
  expect(named.length).toBe(4);
  expect(named.filter((name) => !loaded.includes(name))).toEqual([]);
});

test('the daemon is started with the same options and variables by its unit, by its name and by these tests', async () => {
  const options = DAEMON_NODE_OPTIONS.join(' ');
  const unit = await readFile(join(UNITS, 'agentkeyd.service'), 'utf8');
  const variables = Object.entries(DAEMON_ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  expect(unit).toContain(`/bin/node ${options} /usr/lib/agentkeyd/dist/daemon/main.js`);
  expect(unit.split('\n')).toContain(`Environment=${variables.join(' ')}`);
  const main = await readFile(join(UNITS, '../src/daemon/main.ts'), 'utf8');
  expect(main.split('\n')[0]).toBe(`#!/usr/bin/env -S ${variables.join(' ')} node ${options}`);
});
