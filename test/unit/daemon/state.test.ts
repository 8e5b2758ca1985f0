import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { STATE_MIGRATIONS } from '../../../src/daemon/state/migrations.ts';
import { openState, type DaemonState } from '../../../src/daemon/state/state.ts';
import type { Agent } from '../../../src/signing/agent.ts';
import { codeOf } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let temp: TempDir;
let directory: string;
let state: DaemonState;

beforeEach(async () => {
  temp = await makeTempDir();
  directory = join(temp.path, 'state');
  state = openState(directory);
});

afterEach(async () => {
  state.close();
  await temp.remove();
});

function reopen(): void {
  state.close();
  state = openState(directory);
}

const KEY = { kty: 'OKP', crv: 'Ed25519', x: 'A'.repeat(43), alg: 'Ed25519' } as const;

function agent(more: Partial<Agent> = {}): Agent {
  return {
    id: 'id-1',
    name: 'one',
    ownerUid: 1000,
    backend: 'pkcs11',
    algorithm: 'Ed25519',
    keyId: 'key-1',
    publicJwk: KEY,
    kid: 'kid-1',
    createdAtMs: 1_800_000_000_000,
    ...more,
  };
}

function add(more: Partial<Agent> = {}): Agent {
  const made = agent(more);
  state.agents.reserveName(made.id, made.name, made.ownerUid);
  state.agents.add(made);
  return made;
}

test('an agent is found by id and name, also after a restart', () => {
  const made = add();
  for (const round of [1, 2]) {
    expect(state.agents.find('one'), String(round)).toEqual(made);
    expect(state.agents.find('id-1')).toEqual(made);
    expect(state.agents.list()).toEqual([made]);
    reopen();
  }
});

test('S6: a name is never given twice: not while reserved, not while used, not after retirement', () => {
  state.agents.reserveName('id-1', 'one', 1000);
  expect(
    codeOf(() => {
      state.agents.reserveName('id-2', 'one', 1000);
    }),
  ).toBe('name_in_use');
  expect(state.agents.find('one')).toBeUndefined();
  state.agents.add(agent());
  expect(
    codeOf(() => {
      state.agents.reserveName('id-2', 'one', 1000);
    }),
  ).toBe('name_in_use');
  state.agents.retire('id-1');
  for (const round of [1, 2]) {
    expect(state.agents.find('one'), String(round)).toBeUndefined();
    expect(
      codeOf(() => {
        state.agents.reserveName('id-2', 'one', 1000);
      }),
    ).toBe('name_in_use');
    reopen();
  }
});

test('a reservation whose key was never made gives its name back, also after a crash', () => {
  state.agents.reserveName('id-1', 'one', 1000);
  state.agents.releaseName('id-1');
  state.agents.reserveName('id-2', 'one', 1000);
  reopen();
  expect(state.agents.releaseInterrupted()).toEqual(['one']);
  add({ id: 'id-3' });
  expect(state.agents.releaseInterrupted()).toEqual([]);
  state.agents.releaseName('id-3');
  reopen();
  expect(state.agents.find('one')?.id).toBe('id-3');
});

test('an agent can not be added without its reservation, nor twice', () => {
  expect(
    codeOf(() => {
      state.agents.add(agent());
    }),
  ).toBe('conflict');
  add();
  expect(
    codeOf(() => {
      state.agents.add(agent());
    }),
  ).toBe('conflict');
  expect(
    codeOf(() => {
      state.agents.retire('id-9');
    }),
  ).toBe('agent_not_found');
});

test('a replaced key is the agent’s, also after a restart', () => {
  add();
  state.agents.replaceKey('id-1', { keyId: 'key-2', kid: 'kid-2', publicJwk: KEY, algorithm: 'Ed25519' });
  for (const round of [1, 2]) {
    expect(state.agents.find('one'), String(round)).toMatchObject({
      keyId: 'key-2',
      kid: 'kid-2',
      name: 'one',
    });
    expect(state.agents.find('id-1')?.keyId).toBe('key-2');
    reopen();
  }
});

test('S15: a deleted blob and its salt are in no file of the state any more', async () => {
  const blob = Buffer.from('the wrapped key that must go');
  const salt = Buffer.from('the salt that must go, 32 octets');
  const record = { keyId: 'k', purpose: 'agent', algorithm: 'ES256', blob, salt, epoch: 1 } as const;
  await state.keyBlobs.put(record);
  const files = async (): Promise<string> =>
    (
      await Promise.all(
        ['state.db', 'state.db-wal'].map((name) => readFile(join(directory, name), 'latin1').catch(() => '')),
      )
    ).join('');
  expect(await files()).toContain('the wrapped key');
  const found = await state.keyBlobs.get('k');
  expect(found && { ...found, blob: Buffer.from(found.blob), salt: Buffer.from(found.salt) }).toEqual(record);
  await state.keyBlobs.delete('k');
  await state.keyBlobs.delete('k');
  expect(await state.keyBlobs.get('k')).toBeUndefined();
  expect(await files()).not.toContain('must go');
});

test('blobs, TPM memory, refused PINs, host and credentials survive a restart', async () => {
  const record = {
    keyId: 'k',
    purpose: 'host',
    algorithm: 'ES256',
    blob: new Uint8Array([1, 2]),
    salt: new Uint8Array(32),
    epoch: 3,
  } as const;
  await state.keyBlobs.put(record);
  await state.tpmMemory.save({ srkName: 'aa', ekHash: 'bb' });
  await state.refusedPins.add('hash');
  await state.refusedPins.add('hash');
  const credentials = { agentId: 'a', kid: 'k', issued: { ear: 'x.y.z' } } as never;
  state.issuance.putCredentials(credentials);
  reopen();
  expect(await state.keyBlobs.list()).toEqual([record]);
  expect(await state.tpmMemory.load()).toEqual({ srkName: 'aa', ekHash: 'bb' });
  expect([await state.refusedPins.has('hash'), await state.refusedPins.has('other')]).toEqual([true, false]);
  expect(state.issuance.credentials('a')).toEqual(credentials);
  expect(state.issuance.host()).toBeUndefined();
  state.issuance.deleteCredentials('a');
  expect(state.issuance.credentials('a')).toBeUndefined();
});

test('a second opener is refused, in this process and in another, and let in when the first has gone', async () => {
  expect(codeOf(() => openState(directory))).toBe('conflict');
  const script = `
    import { openState } from ${JSON.stringify(new URL('../../../src/daemon/state/state.ts', import.meta.url).href)};
    try { openState(process.argv[1]); console.log('opened'); setInterval(() => {}, 1000); }
    catch (error) { console.log(error.code); }
  `;
  const other = (): ReturnType<typeof spawn> =>
    spawn(process.execPath, ['--input-type=module', '-e', script, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const said = async (child: ReturnType<typeof spawn>): Promise<string> =>
    String((await once(child.stdout ?? child, 'data'))[0]).trim();
  expect(await said(other())).toBe('conflict');
  state.close();
  const holder = other();
  expect(await said(holder)).toBe('opened');
  expect(codeOf(() => openState(directory))).toBe('conflict');
  const gone = once(holder, 'exit');
  holder.kill('SIGKILL');
  await gone;
  state = openState(directory);
});

test('state that others may enter, or that a newer version wrote, is refused', async () => {
  state.close();
  await chmod(directory, 0o750);
  expect(codeOf(() => openState(directory))).toBe('configuration_invalid');
  await chmod(directory, 0o700);
  const database = new DatabaseSync(join(directory, 'state.db'));
  database.exec('PRAGMA user_version = 99');
  database.close();
  expect(codeOf(() => openState(directory))).toBe('state_newer');
  const mended = new DatabaseSync(join(directory, 'state.db'));
  mended.exec(`PRAGMA user_version = ${STATE_MIGRATIONS.length}`);
  mended.close();
  // The refusal gave the lock back.
  state = openState(directory);
});

test('a damaged row is an error and not a guess', () => {
  add();
  state.close();
  const database = new DatabaseSync(join(directory, 'state.db'));
  database.exec("UPDATE agents SET public_jwk = '{'");
  database.close();
  expect(codeOf(() => openState(directory))).toBe('internal');
  const mended = new DatabaseSync(join(directory, 'state.db'));
  mended.exec('DELETE FROM agents');
  mended.close();
  state = openState(directory);
});
