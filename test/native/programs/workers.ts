/** Runs `lifecycle.ts` as a worker, stage after stage, in one process: `workers.ts TCTI ENDING STAGE...`. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { EsysConnection } from '../../../src/backend/tpm/esys.ts';
import { siblingModule } from '../../../src/base/sibling-module.ts';

const [tcti = '', ending, ...stages] = process.argv.slice(2);
const expected = ending === 'terminate' ? 1 : 0;

for (const stage of stages) {
  const worker = new Worker(siblingModule(import.meta.url, './lifecycle'), {
    workerData: [tcti, stage, ending],
  });
  const exited = once(worker, 'exit');
  if (ending === 'terminate') {
    await once(worker, 'message');
    await worker.terminate();
  }
  const [code] = (await exited) as [number];
  console.log(`${stage} ${code === expected ? 'ended' : `exit ${code}`}`);
  // The addon still works in this environment.
  const esys = await EsysConnection.open(tcti);
  await esys.getRandom(8);
  await esys.close();
}
