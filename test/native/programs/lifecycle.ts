/**
 * Brings a connection to one stage of its life and ends its environment there. As a program:
 * `lifecycle.ts TCTI STAGE ENDING`; as a worker: the same in workerData.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { EsysConnection, PERMANENT } from '../../../src/backend/tpm/esys.ts';
import { signingKeyTemplate, srkTemplate } from '../../../src/wire/tpm/templates.ts';

export type Stage = 'opening' | 'idle' | 'holding' | 'in-flight' | 'queued' | 'closing' | 'closed' | 'failed';

const [tcti = '', stage, ending] = isMainThread ? process.argv.slice(2) : (workerData as readonly string[]);

const ignored = (): void => undefined;

async function reach(): Promise<void> {
  if (stage === 'opening') {
    EsysConnection.open(tcti).catch(ignored);
    return;
  }
  if (stage === 'failed') {
    await EsysConnection.open('swtpm:path=/nowhere').catch(ignored);
    return;
  }
  const esys = await EsysConnection.open(tcti);
  const { handle: parent } = await esys.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() });
  if (stage === 'holding')
    await esys.startAuthSession({ type: 'policy', symmetric: 'none', authHash: 0x000b });
  if (stage === 'in-flight') esys.create({ parent, inPublic: signingKeyTemplate('RS256') }).catch(ignored);
  if (stage === 'queued') for (let i = 0; i < 300; i += 1) esys.getRandom(8).catch(ignored);
  if (stage === 'closing') esys.close().catch(ignored);
  if (stage === 'closed') await esys.close();
}

await reach();
if (ending === 'exit') process.exit(0);
// Wait here to be terminated; otherwise the event loop runs dry.
if (ending === 'terminate') {
  parentPort?.on('message', ignored);
  parentPort?.postMessage('reached');
}
