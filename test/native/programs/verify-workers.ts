/** Runs `verify-lifecycle.ts` as a worker, stage after stage, in one process: `verify-workers.ts ENDING STAGE...`. */
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { VerificationThread } from '../../../src/backend/pkcs11/verification-thread.ts';
import { verifyAddon } from '../../../src/backend/pkcs11/verify-addon.ts';
import { siblingModule } from '../../../src/base/sibling-module.ts';

const [ending, ...stages] = process.argv.slice(2);
const expected = ending === 'terminate' ? 1 : 0;

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const key = new (verifyAddon().PublicKey)('Ed25519', publicKey.export({ type: 'spki', format: 'der' }));
const octets = hash('sha256', 'x', 'buffer');
const signature = sign(null, octets, privateKey);
const thread = new VerificationThread();

for (const stage of stages) {
  const worker = new Worker(siblingModule(import.meta.url, './verify-lifecycle'), {
    workerData: [stage, ending],
  });
  const exited = once(worker, 'exit');
  if (ending === 'terminate') {
    await once(worker, 'message');
    await worker.terminate();
  }
  const [code] = (await exited) as [number];
  console.log(`${stage} ${code === expected ? 'ended' : `exit ${code}`}`);
  // The thread of this environment lives on.
  if (!(await thread.verifies(key, octets, signature))) throw new Error('did not verify');
}
thread.close();
