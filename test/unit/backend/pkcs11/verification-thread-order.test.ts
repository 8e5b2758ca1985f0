/** What node:worker_threads may say in an order that no real thread can be made to repeat, said by a stand-in. */
import { generateKeyPairSync } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { expect, it, vi } from 'vitest';
import { VerificationThread } from '../../../../src/backend/pkcs11/verification-thread.ts';
import { VerifyingKey } from '../../../../src/backend/pkcs11/verify-signature.ts';
import { parsePublicJwk } from '../../../../src/wire/jwk.ts';

const workers = vi.hoisted((): EventEmitter[] => []);
vi.mock('node:worker_threads', () => ({
  Worker: class extends EventEmitter {
    constructor() {
      super();
      workers.push(this);
    }
    unref(): void {
      return;
    }
    postMessage(): void {
      return;
    }
    async terminate(): Promise<void> {
      await Promise.resolve();
    }
  },
}));

it('S17: what a thread that failed still says answers no question of the next thread', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = new VerifyingKey(parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg: 'ES256' }));
  const thread = new VerificationThread();
  const bad = (): Promise<boolean> => thread.verifies(key, new Uint8Array(8), new Uint8Array(64));
  const first = bad();
  await vi.waitUntil(() => workers.length === 1);
  workers[0]?.emit('error', new TypeError('gone'));
  expect(await first).toBe(false);
  const second = bad();
  await vi.waitUntil(() => workers.length === 2);
  // Its answer to the first question, which was under way when it failed.
  workers[0]?.emit('message', Uint8Array.of(1));
  workers[1]?.emit('message', Uint8Array.of(0));
  expect(await second).toBe(false);
});
