/** Run with --expose-gc: drops inputs, handles and whole connections while the addon works. `garbage.ts TCTI` */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EsysConnection, PERMANENT } from '../../../src/backend/tpm/esys.ts';
import { TPM_CAP } from '../../../src/wire/tpm/constants.ts';
import { parsePublicArea } from '../../../src/wire/tpm/public-area.ts';
import { verifyTpmSignature } from '../../../src/wire/tpm/signature.ts';
import { signingKeyTemplate, srkTemplate } from '../../../src/wire/tpm/templates.ts';

const [tcti = ''] = process.argv.slice(2);
const collect = globalThis.gc;
if (collect === undefined) throw new Error('run with --expose-gc');

const threads = (): number => readdirSync('/proc/self/task').length;

/** Collects until `done`, as finalisers run between turns of the event loop. */
async function until(what: string, done: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i += 1) {
    collect?.();
    if (await done()) return;
    await delay(10);
  }
  throw new Error(`never: ${what}`);
}

const esys = await EsysConnection.open(tcti);
const srk = (await esys.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() })).handle;
const transient = async (): Promise<number> => {
  const query = { capability: TPM_CAP.HANDLES, property: 0x8000_0000, count: 8 };
  return (await esys.getCapability(query)).capabilityData.readUInt32BE(4);
};

// Inputs are copied: those that are dropped or overwritten while the command waits do not matter.
const created = await esys.createLoaded({ parent: srk, inPublic: signingKeyTemplate('ES256') });
const area = parsePublicArea(created.outPublic);
const signatures = Array.from({ length: 100 }, (_, index) => {
  const message = Buffer.from(`message ${index}`);
  const digest = createHash('sha256').update(message).digest();
  const signature = esys.sign({ key: created.handle, digest });
  digest.fill(0xff);
  return { message, signature };
});
for (let i = 0; i < 20; i += 1) {
  collect();
  randomBytes(1 << 20);
  await delay(1);
}
for (const { message, signature } of signatures) {
  if (!verifyTpmSignature(area, message, await signature)) throw new Error('the input changed under way');
}
console.log('inputs');

// Handles that are dropped are flushed, after the commands that use them.
let uses: Promise<Buffer> | undefined;
await (async () => {
  await esys.flushContext(created.handle);
  const { handle } = await esys.createLoaded({ parent: srk, inPublic: signingKeyTemplate('ES256') });
  uses = esys.sign({ key: handle, digest: new Uint8Array(32) });
})();
await until('the dropped key is flushed', async () => (await transient()) === 1);
await uses;
console.log('handles');

// A connection that is dropped with commands under way serves them, then ends its thread.
const before = threads();
let answers: Promise<Buffer>[] = [];
await (async () => {
  const dropped = await EsysConnection.open(tcti);
  answers = Array.from({ length: 50 }, () => dropped.getRandom(16));
})();
collect();
if ((await Promise.all(answers)).some((answer) => answer.length !== 16)) throw new Error('a short answer');
answers = [];
await until('the thread of the dropped connection ends', () => threads() <= before);
console.log('connections');

// Memory does not grow with commands, answered or refused.
async function work(): Promise<void> {
  for (let i = 0; i < 40; i += 1) {
    await Promise.allSettled(
      Array.from({ length: 50 }, (_, index) =>
        index % 5 === 0
          ? esys.verifySignature({ key: srk, digest: new Uint8Array(32), signature: new Uint8Array(3) })
          : esys.getRandom(32),
      ),
    );
  }
  collect?.();
}
await work();
const rss = process.memoryUsage.rss();
await work();
await work();
const grown = process.memoryUsage.rss() - rss;
if (grown > 24 * 1024 * 1024) throw new Error(`memory grew by ${grown} octets`);
console.log('memory');
await esys.close();
