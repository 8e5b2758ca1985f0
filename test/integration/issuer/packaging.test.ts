/** The unit and the reference configuration are what they say: systemd and the program read them. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readIssuerConfig } from '../../../src/issuer/config.ts';
import { codeOf } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const run = promisify(execFile);
const file = (name: string): string => fileURLToPath(new URL(`../../../systemd/${name}`, import.meta.url));
const UNIT = 'agentkey-issuer.service';
/** `systemd-analyze security`: 0 is best, 10 worst. */
const MAX_EXPOSURE = 2;

let temp: TempDir;
beforeAll(async () => {
  temp = await makeTempDir();
});
afterAll(() => temp.remove());

describe(UNIT, () => {
  it('is clean for systemd-analyze verify', async () => {
    // The installed program is not here; another executable stands for it.
    const unit = (await readFile(file(UNIT), 'utf8')).replaceAll('/usr/bin/agentkey-issuer', '/bin/true');
    const copy = join(temp.path, UNIT);
    await writeFile(copy, unit);
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', copy]);
    expect(`${stdout}${stderr}`.split('\n').filter((line) => line.includes(UNIT))).toEqual([]);
  });

  it('is rated well by systemd-analyze security', async () => {
    const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--no-pager', file(UNIT)]);
    const figure = /Overall exposure level for [^:]+: ([\d.]+)/.exec(stdout)?.[1];
    expect(Number(figure)).toBeLessThanOrEqual(MAX_EXPOSURE);
  });
});

describe('issuer.toml', () => {
  it('is read as it stands, and its comments are the defaults', async () => {
    const reference = readIssuerConfig(file('issuer.toml'));
    expect(reference.developmentPolicy).toBeUndefined();
    // Every commented key, switched on: still a configuration, and where it shows a default, the same one.
    const text = await readFile(file('issuer.toml'), 'utf8');
    const all = text.replace(/^# (?=\[|[a-z0-9_]+ = )/gm, '');
    expect(all).not.toBe(text);
    const copy = join(temp.path, 'all.toml');
    await writeFile(copy, all);
    const full = readIssuerConfig(copy);
    expect(full.lifetimes).toEqual(reference.lifetimes);
    expect(full.limits).toEqual(reference.limits);
    expect(full.logLevel).toBe(reference.logLevel);
    expect(full.appraisal.policy).toBe(reference.appraisal.policy);
    expect(full.developmentPolicy).toMatchObject({ name: 'lab' });
    expect(full.appraisal.denied_models).toHaveLength(1);
    expect(full.appraisal.firmware_floors).toHaveLength(1);
  });

  it('refuses a key nobody knows and a development policy that is switched off', async () => {
    const text = await readFile(file('issuer.toml'), 'utf8');
    const copy = join(temp.path, 'wrong.toml');
    for (const more of [
      '\n[more]\nx = 1\n',
      '\n[development_policy]\nname = "lab"\naccept_software = false\n',
      '\n[development_policy]\naccept_software = true\n',
    ]) {
      await writeFile(copy, text + more);
      expect(codeOf(() => readIssuerConfig(copy))).toBe('configuration_invalid');
    }
  });
});
