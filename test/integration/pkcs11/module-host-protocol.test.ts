/** S17: a module host that answers in another form than ours is ended. */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModuleHostClient } from '../../../src/backend/pkcs11/module-host-client.ts';
import { ModuleHostGone } from '../../../src/backend/pkcs11/module-host-faults.ts';
import { OPERATION, OUTCOME, encodeFrame } from '../../../src/backend/pkcs11/module-host-protocol.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

describe('S17: a module host that does not speak the protocol', () => {
  let temp: TempDir;
  beforeAll(async () => {
    temp = await makeTempDir();
  });
  afterAll(() => temp.remove());

  // The first request that a client makes has the id 1.
  const valid = encodeFrame(1, OUTCOME.ok, Buffer.from('fine'));
  const header = (length: number): Buffer => {
    const octets = Buffer.alloc(4);
    octets.writeUInt32BE(length);
    return octets;
  };
  const answers: readonly (readonly [name: string, octets: Buffer])[] = [
    ['random octets', Buffer.concat([Buffer.of(0xff), randomBytes(64)])],
    ['a length above the bound', Buffer.concat([header(0xffff_ffff), randomBytes(16)])],
    ['a length below the header', Buffer.concat([header(4), Buffer.alloc(4)])],
    ['an answer to a request that was not made', encodeFrame(2, OUTCOME.ok)],
    ['two answers to one request', Buffer.concat([valid, valid])],
    ['an unknown outcome', Buffer.concat([header(5), Buffer.of(0, 0, 0, 1, 9)])],
    ['a refusal without a code', encodeFrame(1, OUTCOME.refused, Buffer.from('what'))],
    [
      'a refusal with a code that is not its own',
      encodeFrame(1, OUTCOME.refused, Buffer.from('policy_denied\0no')),
    ],
    ['a return value without a function', encodeFrame(1, OUTCOME.returnValue, Buffer.alloc(4))],
    [
      'a return value with an odd function',
      encodeFrame(1, OUTCOME.returnValue, Buffer.from('\0\0\0\u0005<b>')),
    ],
    ['half an answer, then nothing', valid.subarray(0, valid.length - 1)],
  ];

  for (const [name, octets] of answers) {
    it(`S17: refuses ${name}`, async () => {
      const entry = join(temp.path, `${randomUUID()}.mjs`);
      await writeFile(
        entry,
        `import { readSync, writeSync } from 'node:fs';
         const input = Buffer.alloc(4096);
         readSync(3, input);
         writeSync(3, Buffer.from('${octets.toString('hex')}', 'hex'));
         readSync(3, input);`,
      );
      const client = new ModuleHostClient({ entry: pathToFileURL(entry) });
      const call = client.call(OPERATION.probe, [], { timeoutMs: 500 });
      // A second answer comes too late for the first call and ends the process all the same.
      if (name.startsWith('two')) await expect(call).resolves.toEqual(Buffer.from('fine'));
      else await expect(call).rejects.toBeInstanceOf(ModuleHostGone);
      await expect(client.ended).resolves.toMatch(/broke the protocol|did not answer/);
      await expect(client.call(OPERATION.probe, [], { timeoutMs: 500 })).rejects.toMatchObject({
        sent: false,
      });
    });
  }
});
