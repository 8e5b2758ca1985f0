/** The token itself: gone and back, mistaken for another, shared with others' objects, full of keys. */
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeSofthsmToken } from '../../../scripts/sandbox/softhsm.ts';
import type { SignInput } from '../../../src/backend/backend.ts';
import { openPkcs11Backend, type Pkcs11Backend } from '../../../src/backend/pkcs11/pkcs11-backend.ts';
import { expectCode, verifyJose } from '../../contract/backend-contract.ts';
import {
  makeSofthsm,
  SO_PIN,
  untilReady,
  untilState,
  USER_PIN,
  type TestSofthsm,
} from '../../support/softhsm.ts';

const run = promisify(execFile);
const QUICK = { maxBackoffMs: 200, probeIntervalMs: 60_000 };
const message = (): SignInput => ({ kind: 'message', octets: randomBytes(40) });

let hsm: TestSofthsm;
let backend: Pkcs11Backend;

beforeEach(async () => {
  hsm = await makeSofthsm();
  backend = await hsm.open({ timing: QUICK });
});
afterEach(async () => {
  await backend.close();
  await hsm.remove();
});

const pkcs11Tool = async (...args: readonly string[]): Promise<string> => {
  const common = ['--module', hsm.module, '--token-label', hsm.tokenLabel, '--login', '--pin', USER_PIN];
  return (await run('pkcs11-tool', [...common, ...args], { env: hsm.env, timeout: 30_000 })).stdout;
};

const hexId = (keyId: string): string => keyId.replaceAll('-', '');

describe('a token that goes away', () => {
  it('is answered token_unavailable, never "no such key", and is used again when it is back, without a restart', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const input = message();
    await backend.sign(key.keyId, input);
    const pids = backend.moduleHostPids();
    const away = `${hsm.tokenDir}-away`;
    await rename(hsm.tokenDir, away);
    // Another, empty reader: the library starts well and sees no token.
    await mkdir(hsm.tokenDir);

    await expectCode(backend.sign(key.keyId, input), 'token_unavailable');
    await expectCode(backend.find(key.keyId), 'token_unavailable');
    await expectCode(backend.find(randomUUID()), 'token_unavailable');
    await expectCode(backend.list(), 'token_unavailable');
    await expectCode(backend.readProtection(key.keyId), 'token_unavailable');
    await expectCode(backend.destroy(key.keyId), 'token_unavailable');
    await expectCode(
      backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' }),
      'token_unavailable',
    );
    expect((await backend.describe()).fault).toMatch(/No token labelled "agentkeyd test" is present/);

    await rm(hsm.tokenDir, { recursive: true });
    await rename(away, hsm.tokenDir);
    await untilReady(backend);
    expect(verifyJose(key.publicJwk, input.octets, await backend.sign(key.keyId, input))).toBe(true);
    expect(await backend.list()).toEqual([key]);
    expect(backend.moduleHostPids()).toEqual(pids);
  });

  it('is found gone whichever call comes first, also where its whole directory is missing', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const calls: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['find', () => backend.find(key.keyId)],
      ['find of an unknown key', () => backend.find(randomUUID())],
      ['list', () => backend.list()],
      ['destroy', () => backend.destroy(key.keyId)],
      ['protection', () => backend.readProtection(key.keyId)],
      ['generate', () => backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' })],
    ];
    for (const [, call] of calls) {
      await rename(hsm.tokenDir, `${hsm.tokenDir}-away`);
      await expectCode(call(), 'token_unavailable');
      await rename(`${hsm.tokenDir}-away`, hsm.tokenDir);
      await untilReady(backend);
    }
    expect(await backend.list()).toEqual([key]);
  });

  it('is noticed by the probe when nobody calls', async () => {
    await backend.close();
    backend = await hsm.open({ timing: { ...QUICK, probeIntervalMs: 100 } });
    await rename(hsm.tokenDir, `${hsm.tokenDir}-away`);
    await untilState(backend, 'unavailable');
    await rename(`${hsm.tokenDir}-away`, hsm.tokenDir);
    await untilReady(backend);
  });

  it('may be absent when the backend opens, and is used when it comes', async () => {
    await backend.close();
    await rename(hsm.tokenDir, `${hsm.tokenDir}-away`);
    backend = await openPkcs11Backend(hsm.options({ timing: QUICK }));
    await untilState(backend, 'unavailable');
    await expectCode(backend.list(), 'token_unavailable');
    await rename(`${hsm.tokenDir}-away`, hsm.tokenDir);
    await untilReady(backend);
    expect(await backend.list()).toEqual([]);
  });
});

describe('a token among others', () => {
  it('is not guessed: two of one label are told by serial', async () => {
    const serial = (await backend.describe()).hardware['serial'] ?? '';
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    await backend.close();
    await makeSofthsmToken(hsm.dir, { tokenLabel: hsm.tokenLabel, userPin: USER_PIN, soPin: SO_PIN });
    backend = await openPkcs11Backend(hsm.options({ timing: QUICK }));
    await untilState(backend, 'unavailable');
    expect((await backend.describe()).fault).toMatch(
      /2 tokens .* are present \(serials .*name one by its serial/,
    );
    await expectCode(backend.list(), 'token_unavailable');
    await backend.close();
    backend = await hsm.open({ tokenSerial: serial });
    expect(await backend.list()).toEqual([key]);
  });

  it('is not taken for another that came in its place', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    await rename(hsm.tokenDir, `${hsm.tokenDir}-away`);
    await makeSofthsmToken(hsm.dir, { tokenLabel: 'somebody else', userPin: USER_PIN, soPin: SO_PIN });
    await expectCode(backend.sign(key.keyId, message()), 'token_unavailable');
  });
});

describe('the objects on the token', () => {
  it('are seen by pkcs11-tool as ours: label, id, and what protects them', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const listed = await pkcs11Tool('--list-objects', '--type', 'privkey');
    expect(listed).toContain(`label:      agentkeyd:agent:ES256:${key.keyId}`);
    expect(listed).toContain(`ID:         ${hexId(key.keyId)}`);
    expect(listed).toMatch(/Usage:\s+sign\n/);
    expect(listed).toMatch(/Access:\s+sensitive, always sensitive, never extractable, local/);
    expect(listed).toMatch(/Allowed mechanisms:\s+ECDSA/);
  });

  it('sign with pkcs11-tool too: the key really lives on the token', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'Ed25519' });
    const [input, output] = [`${hsm.dir}/in`, `${hsm.dir}/out`];
    const { writeFile, readFile } = await import('node:fs/promises');
    await writeFile(input, 'by another program');
    await pkcs11Tool('--sign', '--mechanism', 'EDDSA', '--id', hexId(key.keyId), '-i', input, '-o', output);
    expect(verifyJose(key.publicJwk, Buffer.from('by another program'), await readFile(output))).toBe(true);
  });

  it('of others are neither listed, found, used nor destroyed', async () => {
    const keyId = randomUUID();
    const foreign = ['--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'not ours'];
    await pkcs11Tool(...foreign, '--id', hexId(keyId));
    expect(await backend.list()).toEqual([]);
    expect(await backend.find(keyId)).toBeUndefined();
    await expectCode(backend.sign(keyId, message()), 'key_not_found');
    await expectCode(backend.generate({ keyId, purpose: 'agent', algorithm: 'ES256' }), 'conflict');
    await backend.destroy(keyId);
    expect(await pkcs11Tool('--list-objects', '--type', 'privkey')).toContain('not ours');
  });

  it('whose label names another key than their id are not ours', async () => {
    const keyId = randomUUID();
    const label = `agentkeyd:agent:ES256:${randomUUID()}`;
    await pkcs11Tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', label, '--id', hexId(keyId));
    expect(await backend.list()).toEqual([]);
    expect(await backend.find(keyId)).toBeUndefined();
  });

  it('that lost their private half are no key any more', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    await backend.sign(key.keyId, message());
    await pkcs11Tool('--delete-object', '--type', 'privkey', '--id', hexId(key.keyId));
    expect(await backend.find(key.keyId)).toBeUndefined();
    expect(await backend.list()).toEqual([]);
    await expectCode(backend.sign(key.keyId, message()), 'key_not_found');
    expect((await backend.destroy(key.keyId)).erased).toBe('hardware');
    expect(await pkcs11Tool('--list-objects', '--type', 'pubkey')).not.toContain(key.keyId);
  });

  it('of one id are one key: a twin that somebody put beside it is neither listed nor believed', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const twin = [
      '--keypairgen',
      '--key-type',
      'EC:prime256v1',
      '--label',
      `agentkeyd:agent:ES256:${key.keyId}`,
    ];
    await pkcs11Tool(...twin, '--id', hexId(key.keyId));
    expect(await backend.list()).toEqual([key]);
    const input = message();
    expect(verifyJose(key.publicJwk, input.octets, await backend.sign(key.keyId, input))).toBe(true);
    await backend.destroy(key.keyId);
    expect(await pkcs11Tool('--list-objects')).not.toContain(key.keyId);
  });

  it('that an untrusted hand made are found, and their protection is told as it is', async () => {
    const keyId = randomUUID();
    const label = `agentkeyd:agent:ES256:${keyId}`;
    const weak = ['--keypairgen', '--key-type', 'EC:prime256v1', '--label', label, '--extractable'];
    await pkcs11Tool(...weak, '--id', hexId(keyId));
    expect((await backend.readProtection(keyId)).exportable).toBe(true);
    expect((await backend.readProtection(keyId)).attributes['CKA_EXTRACTABLE']).toBe(true);
  });

  it('are all listed, over as many pages as it takes, while signing goes on', async () => {
    const made = [];
    for (let index = 0; index < 150; index++) {
      made.push(await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' }));
    }
    const [first] = made;
    const input = message();
    const [listed, again, signature] = await Promise.all([
      backend.list(),
      backend.list(),
      backend.sign(first?.keyId ?? '', input),
    ]);
    const ids = (keys: readonly { readonly keyId: string }[]): string[] =>
      keys.map((key) => key.keyId).sort();
    expect(ids(listed)).toEqual(ids(made));
    expect(again).toEqual(listed);
    expect(signature).toHaveLength(64);
  });

  it('made by one module host are known to its siblings', async () => {
    await backend.close();
    backend = await hsm.open({ processes: 3, timing: QUICK });
    await expect.poll(() => backend.moduleHostPids().length, { timeout: 20_000 }).toBe(3);
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const inputs = Array.from({ length: 90 }, message);
    const signatures = await Promise.all(inputs.map((input) => backend.sign(key.keyId, input)));
    expect(
      signatures.every((signature, index) =>
        verifyJose(key.publicJwk, inputs[index]?.octets ?? Buffer.alloc(0), signature),
      ),
    ).toBe(true);
    await backend.destroy(key.keyId);
    const after = await Promise.allSettled(inputs.map((input) => backend.sign(key.keyId, input)));
    expect(after.every((outcome) => outcome.status === 'rejected')).toBe(true);
  });
});

describe('a message for a token', () => {
  it('is refused above what one frame holds, where the token itself must see it', async () => {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'Ed25519' });
    const octets = Buffer.alloc(1024 * 1024);
    const signature = await backend.sign(key.keyId, { kind: 'message', octets });
    expect(verifyJose(key.publicJwk, octets, signature)).toBe(true);
    const tooLong: SignInput = { kind: 'message', octets: Buffer.alloc(1024 * 1024 + 128) };
    await expectCode(backend.sign(key.keyId, tooLong), 'body_too_large');
    await backend.sign(key.keyId, message());
  });
});
