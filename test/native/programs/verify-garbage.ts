/** Run with --expose-gc: drops keys and threads while the addon works, and forgets keys as their tokens do. */
import { generateKeyPairSync, hash, randomUUID, sign } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { KnownKeys } from '../../../src/backend/pkcs11/known-keys.ts';
import { VerificationThread } from '../../../src/backend/pkcs11/verification-thread.ts';
import { verifyAddon } from '../../../src/backend/pkcs11/verify-addon.ts';
import { parsePublicJwk } from '../../../src/wire/jwk.ts';

const collect = globalThis.gc;
if (collect === undefined) throw new Error('run with --expose-gc');

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = publicKey.export({ type: 'spki', format: 'der' });
const octets = hash('sha256', 'x', 'buffer');
const signature = sign('sha256', Buffer.from('x'), { key: privateKey, dsaEncoding: 'ieee-p1363' });
const { PublicKey, VerificationThread: NativeThread } = verifyAddon();

const verificationThreads = (): number =>
  readdirSync('/proc/self/task').filter(
    (task) => readFileSync(`/proc/self/task/${task}/comm`, 'utf8') === 'verification\n',
  ).length;

/** Collects until `done`, as finalisers run between turns of the event loop. */
async function until(what: string, done: () => boolean): Promise<void> {
  for (let i = 0; i < 200; i += 1) {
    collect?.();
    if (done()) return;
    await delay(10);
  }
  throw new Error(`never: ${what}`);
}

const allYes = async (answers: readonly Promise<boolean>[]): Promise<void> => {
  if (!(await Promise.all(answers)).every((yes) => yes)) throw new Error('a no');
};

// A key that is dropped with questions open about it is there until they are answered.
let answers: Promise<boolean>[] = [];
const thread = new NativeThread(1000);
(() => {
  const dropped = new PublicKey('ES256', spki);
  answers = Array.from({ length: 500 }, () => thread.verifies(dropped, octets, signature));
})();
for (let i = 0; i < 5; i += 1) {
  collect();
  await delay(1);
}
await allYes(answers);
console.log('keys');

// A thread that is dropped with questions open answers them, then ends.
(() => {
  const dropped = new NativeThread(1000);
  const key = new PublicKey('ES256', spki);
  answers = Array.from({ length: 500 }, () => dropped.verifies(key, octets, signature));
})();
collect();
if (verificationThreads() !== 2) throw new Error('the dropped thread ended with questions open');
await allYes(answers);
answers = [];
await until('the dropped thread ends', () => verificationThreads() === 1);
console.log('threads');

// Nothing keeps a key that was forgotten, be it that it signed.
const known = new KnownKeys();
const beside = new VerificationThread();
const forgotten: WeakRef<object>[] = [];
async function signAndForget(): Promise<void> {
  const keyId = randomUUID();
  const publicJwk = parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg: 'ES256' });
  const { verifying } = known.pin({ keyId, purpose: 'agent', algorithm: 'ES256', publicJwk });
  const prepared = verifying.prepare({ kind: 'message', octets: Buffer.from('x') });
  await verifying.releaseBeside(prepared, signature, beside);
  forgotten.push(new WeakRef(verifying));
  known.forget(keyId);
}
for (let i = 0; i < 20; i += 1) await signAndForget();
await until('forgotten keys are collected', () => forgotten.every((key) => key.deref() === undefined));
console.log('forgotten');

// Memory does not grow with questions, nor with keys that are released but not collected.
const held: object[] = [];
async function work(): Promise<void> {
  for (let i = 0; i < 20; i += 1) {
    const keys = Array.from({ length: 100 }, () => new PublicKey('ES256', spki));
    await allYes(keys.map((key) => thread.verifies(key, octets, signature)));
    for (const key of keys) key.release();
    held.push(...keys);
  }
  collect?.();
}
await work();
const rss = process.memoryUsage.rss();
await work();
await work();
const grown = process.memoryUsage.rss() - rss;
if (grown > 6 * 1024 * 1024) throw new Error(`memory grew by ${grown} octets`);
console.log('memory');
beside.close();
thread.end();
