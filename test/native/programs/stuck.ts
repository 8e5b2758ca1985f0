/**
 * Leaves environments whose TPM stopped answering in the middle of a command: a terminated worker, then
 * this process itself. `stuck.ts TCTI SWTPM_PID`
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { EsysConnection } from '../../../src/backend/tpm/esys.ts';

const [tcti = '', swtpm = ''] = isMainThread ? process.argv.slice(2) : (workerData as readonly string[]);

const esys = await EsysConnection.open(tcti);
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: [tcti, swtpm] });
  await once(worker, 'message');
  await worker.terminate();
  console.log('worker left');
  process.kill(Number(swtpm), 'SIGCONT');
  // The abandoned thread gets its answer and ends; this one is served.
  await esys.getRandom(8);
  console.log('served');
}
process.kill(Number(swtpm), 'SIGSTOP');
esys.getRandom(8).catch(() => undefined);
await delay(100);
if (isMainThread) process.exit(0);
parentPort?.on('message', () => undefined);
parentPort?.postMessage('stuck');
