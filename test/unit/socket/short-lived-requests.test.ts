import { once } from 'node:events';
import { connect } from 'node:net';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { ok, route } from '../../../src/socket/route.ts';
import { startSocket } from '../../support/socket-fixture.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;

const ASK = 'GET /ask HTTP/1.1\r\nhost: a\r\n\r\n';
const REQUESTS = 4_000;
const PER_COLLECTION = 50;
/** What outlives the collections of the young generation, for each request; a request that does takes 3,000 or more. */
const MAX_KEPT_OCTETS = 1_000;

test('nothing of a request outlives the next two collections of the young generation', async () => {
  let asked = 0;
  const handle = ({ signal }: { readonly signal: AbortSignal }) => {
    if (!signal.aborted) asked += 1;
    return Promise.resolve(ok({ asked }));
  };
  const socket = await startSocket([
    route({ method: 'GET', path: '/ask', operation: 'ask', on: ['shared'], handle }),
  ]);
  const client = connect(socket.path);
  const ask = async (requests: number): Promise<void> => {
    for (let sent = 1; sent <= requests; sent += 1) {
      client.write(ASK);
      await once(client, 'data');
      if (sent % PER_COLLECTION === 0) collect({ type: 'minor' });
    }
  };
  // V8 compiles meanwhile, and what it compiles to lives on.
  await ask(REQUESTS);
  const before = oldOctets();
  await ask(REQUESTS);
  const kept = (oldOctets() - before) / REQUESTS;
  client.destroy();
  await socket.stop();
  expect(asked).toBe(2 * REQUESTS);
  expect(kept).toBeLessThan(MAX_KEPT_OCTETS);
});

function oldOctets(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space');
  if (space === undefined) throw new Error('V8 tells nothing of its old space');
  return space.space_used_size;
}
