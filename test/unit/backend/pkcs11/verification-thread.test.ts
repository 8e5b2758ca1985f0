import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VerificationThread } from '../../../../src/backend/pkcs11/verification-thread.ts';
import { VerifyingKey } from '../../../../src/backend/pkcs11/verify-signature.ts';
import { parsePublicJwk } from '../../../../src/wire/jwk.ts';
import { codeOfAsync } from '../../../support/code-of.ts';
import { makeTempDir } from '../../../support/temp-dir.ts';

interface Signed {
  readonly key: VerifyingKey;
  readonly octets: Uint8Array;
  readonly signature: Uint8Array;
}

let temp: Awaited<ReturnType<typeof makeTempDir>>;
const threads: VerificationThread[] = [];
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const thread of threads.splice(0)) await thread.close();
  await temp.remove();
});

function start(entry?: URL): VerificationThread {
  const thread = new VerificationThread(entry);
  threads.push(thread);
  return thread;
}

/** A program that does `source` with each message instead of answering it. */
function program(source: string): URL {
  const file = join(temp.path, 'worker.mjs');
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => { ${source} });`,
  );
  return pathToFileURL(file);
}

function signed(count: number): readonly Signed[] {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = new VerifyingKey(parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg: 'ES256' }));
  return Array.from({ length: count }, () => {
    const octets = randomBytes(200);
    return { key, octets, signature: sign('sha256', octets, { key: privateKey, dsaEncoding: 'ieee-p1363' }) };
  });
}

const ask = (thread: VerificationThread, { key, octets, signature }: Signed): Promise<boolean> =>
  thread.verifies(key, octets, signature);

describe('the verification thread', () => {
  it('S17: answers each question with its own answer, many keys and many turns at once', async () => {
    const thread = start();
    const good = Array.from({ length: 4 }, () => signed(20)).flat();
    const swapped = good.map((one, index) => ({
      ...one,
      signature: good.at(index - 1)?.signature ?? one.signature,
    }));
    const foreign = good.map((one, index) => ({ ...one, key: good.at(index - 20)?.key ?? one.key }));
    const answers = await Promise.all(
      [...good, ...swapped, ...foreign].map(async (one, index) => {
        // Some of them in turns of their own.
        if (index % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
        return ask(thread, one);
      }),
    );
    expect(answers.slice(0, 80)).toEqual(good.map(() => true));
    expect(answers.slice(80)).toEqual([...swapped, ...foreign].map(() => false));
  });

  it('S17: a signature whose octets change by one bit is refused, and reported as signature_mismatch', async () => {
    const thread = start();
    const [one] = signed(1);
    if (one === undefined) expect.unreachable();
    const { key, octets, signature } = one;
    for (const at of [0, 31, 32, 63]) {
      const bad = Uint8Array.from(signature);
      bad[at] = (bad[at] ?? 0) ^ 1;
      const input = { kind: 'message', octets } as const;
      expect(await codeOfAsync(() => key.releaseBeside(input, bad, thread))).toBe('signature_mismatch');
    }
    expect(await key.releaseBeside({ kind: 'message', octets }, signature, thread)).toEqual(
      Uint8Array.from(signature),
    );
  });

  it.each(['process.exit(1)', 'throw new Error("gone")'])(
    'S17: what a thread leaves that ends by %s is verified here, and the next has another',
    async (end) => {
      const thread = start(program(end));
      const [good, other] = signed(2);
      if (good === undefined || other === undefined) expect.unreachable();
      for (let turn = 0; turn < 2; turn += 1) {
        expect(
          await Promise.all([ask(thread, good), ask(thread, { ...good, signature: other.signature })]),
        ).toEqual([true, false]);
      }
    },
  );

  it('S17: an answer that is none counts as no', async () => {
    const thread = start(program('parentPort.postMessage(new Uint8Array(0))'));
    const [good] = signed(1);
    if (good === undefined) expect.unreachable();
    const key = await Promise.race([
      ask(thread, good),
      new Promise((resolve) => setTimeout(resolve, 5000, 'late')),
    ]);
    expect(key).toBe(false);
  });

  it('verifies after it was closed', async () => {
    const thread = start();
    const [good] = signed(1);
    if (good === undefined) expect.unreachable();
    expect(await ask(thread, good)).toBe(true);
    await thread.close();
    expect(await ask(thread, good)).toBe(true);
  });
});
