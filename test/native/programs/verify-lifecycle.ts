/**
 * Brings a verification thread to one stage of its life and ends its environment there. As a program:
 * `verify-lifecycle.ts STAGE ENDING`; as a worker: the same in workerData.
 */
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { VerificationThread } from '../../../src/backend/pkcs11/verification-thread.ts';
import { verifyAddon } from '../../../src/backend/pkcs11/verify-addon.ts';

export type VerifyStage = 'loaded' | 'idle' | 'queued' | 'answered' | 'dropped' | 'closing' | 'closed';

const [stage, ending] = isMainThread ? process.argv.slice(2) : (workerData as readonly string[]);

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const key = new (verifyAddon().PublicKey)('ES384', publicKey.export({ type: 'spki', format: 'der' }));
const octets = hash('sha384', 'x', 'buffer');
const signature = sign('sha384', Buffer.from('x'), { key: privateKey, dsaEncoding: 'ieee-p1363' });

const outcomes = { yes: 0, no: 0, refused: 0 };
function ask(thread: VerificationThread, count: number): void {
  for (let i = 0; i < count; i += 1) {
    thread.verifies(key, octets, signature).then(
      (verifies) => {
        outcomes[verifies ? 'yes' : 'no'] += 1;
      },
      () => {
        outcomes.refused += 1;
      },
    );
  }
}

async function reach(): Promise<void> {
  if (stage === 'loaded') return;
  const thread = new VerificationThread();
  if (!(await thread.verifies(key, octets, signature))) throw new Error('did not verify');
  if (stage === 'queued' || stage === 'dropped' || stage === 'closing') ask(thread, 2000);
  // The keys go first: the thread has what it needs.
  if (stage === 'dropped') key.release();
  if (stage === 'closing' || stage === 'closed') thread.close();
  if (stage === 'answered') {
    ask(thread, 20);
    // Answers are there and this thread has not taken them.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
}

await reach();
if (ending === 'exit') {
  // After the listeners of what is imported here: by now no thread may be at work on what `exit` takes apart.
  process.on('exit', () => {
    const names = readdirSync('/proc/self/task').map((task) =>
      readFileSync(`/proc/self/task/${task}/comm`, 'utf8'),
    );
    if (isMainThread && names.includes('verification\n')) console.log('the thread is still there');
  });
  process.exit(0);
}
// Wait here to be terminated; otherwise the event loop runs dry, once the questions are answered.
if (ending === 'terminate') {
  parentPort?.on('message', () => undefined);
  parentPort?.postMessage('reached');
} else if (isMainThread) {
  process.on('beforeExit', () => {
    console.log(JSON.stringify(outcomes));
  });
}
