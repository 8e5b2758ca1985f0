import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { Admission, type RequestTicket } from '../../../src/socket/admission.ts';
import type { ShareLimits } from '../../../src/socket/limits.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';
import { useFakeTime } from '../../support/fake-time.ts';

const LIMITS: ShareLimits = {
  maxConnections: 2,
  maxRequests: 2,
  maxRequestsBesideOthers: 2,
  maxHeadOctets: 4_000,
  maxOctets: 100,
  maxHeldMs: 5_000,
  maxRefusalsPerSecond: 2,
  maxRefusalDelayMs: 2_000,
};

useFakeTime();

const staying = new AbortController();

/** Until what a turn of the event loop begins has begun. */
const turn = async (): Promise<void> => {
  for (let index = 0; index < 3; index += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A place that is free at once. */
function begin(admission: Admission, share: string): RequestTicket {
  const place = admission.begin(share, staying);
  if (place instanceof Promise) throw new Error('no place was free');
  return place;
}

async function problem(act: () => unknown): Promise<KeydError | undefined> {
  try {
    await act();
    return undefined;
  } catch (thrown) {
    return thrown as KeydError;
  }
}

/** Names of those that got in, in order. */
function holding(
  admission: Admission,
  share: string,
): { readonly names: string[]; readonly ask: (name: string) => Promise<RequestTicket> } {
  const names: string[] = [];
  return {
    names,
    ask: async (name) => {
      const ticket = await admission.begin(share, staying);
      names.push(name);
      return ticket;
    },
  };
}

test('S20: one share’s use takes nothing from another', () => {
  const admission = new Admission(LIMITS);
  begin(admission, 'uid:1');
  begin(admission, 'uid:1');
  expect(admission.begin('uid:1', staying)).toBeInstanceOf(Promise);
  expect(admission.begin('uid:2', staying)).not.toBeInstanceOf(Promise);
});

test('what is released is free again, once', () => {
  const admission = new Admission(LIMITS);
  const first = begin(admission, 'uid:1');
  begin(admission, 'uid:1');
  first.release();
  first.release();
  begin(admission, 'uid:1');
  expect(admission.begin('uid:1', staying)).toBeInstanceOf(Promise);
});

test('S20: requests beyond a share are held, and begun in order as others end', async () => {
  const admission = new Admission(LIMITS);
  const first = begin(admission, 'uid:1');
  const second = begin(admission, 'uid:1');
  const { names, ask } = holding(admission, 'uid:1');
  const held = ['a', 'b', 'c'].map(ask);
  await vi.advanceTimersByTimeAsync(0);
  expect(names).toEqual([]);
  first.release();
  await vi.advanceTimersByTimeAsync(0);
  expect(names).toEqual(['a']);
  // A place is handed on: who just comes waits behind those at the door.
  held.push(ask('d'));
  second.release();
  await vi.advanceTimersByTimeAsync(0);
  expect(names).toEqual(['a', 'b']);
  for (const ticket of await Promise.all(held.slice(0, 2))) ticket.release();
  await vi.advanceTimersByTimeAsync(0);
  expect(names).toEqual(['a', 'b', 'c', 'd']);
});

test('one that is held for long is refused, with what the last one to get in had waited as Retry-After', async () => {
  const admission = new Admission(LIMITS);
  const first = begin(admission, 'uid:1');
  begin(admission, 'uid:1');
  const served = admission.begin('uid:1', staying);
  await vi.advanceTimersByTimeAsync(3_200);
  first.release();
  await served;
  const refused = problem(() => admission.begin('uid:1', staying));
  await vi.advanceTimersByTimeAsync(LIMITS.maxHeldMs);
  expect(await refused).toMatchObject({ code: 'too_many_requests', retryAfterSeconds: 4 });
});

test('who goes away while held leaves no place taken', async () => {
  const admission = new Admission(LIMITS);
  const first = begin(admission, 'uid:1');
  begin(admission, 'uid:1');
  const caller = new AbortController();
  const left = problem(() => admission.begin('uid:1', caller));
  caller.abort(new KeydError('caller_gone', 'gone'));
  expect((await left)?.code).toBe('caller_gone');
  first.release();
  begin(admission, 'uid:1');
});

test('octets count over all requests of a share and are given back with them', () => {
  const admission = new Admission(LIMITS);
  const first = begin(admission, 'uid:1');
  const second = begin(admission, 'uid:1');
  first.addOctets(60);
  expect(
    codeOf(() => {
      second.addOctets(41);
    }),
  ).toBe('too_many_requests');
  second.addOctets(40);
  first.release();
  expect(
    codeOf(() => {
      second.addOctets(60);
    }),
  ).toBeUndefined();
});

test('S20: refusals of a share come at their rate and no faster, however many it asks for', () => {
  let now = 0;
  const admission = new Admission(LIMITS, () => now);
  expect([1, 2, 3, 4].map(() => admission.refusalDelay('uid:1'))).toEqual([0, 0, 500, 1_000]);
  expect(admission.refusalDelay('uid:2')).toBe(0);
  now = 1_000;
  expect([1, 2, 3, 4].map(() => admission.refusalDelay('uid:1'))).toEqual([500, 1_000, 1_500, 2_000]);
  // Never later than this, and all is forgiven after a while.
  expect(admission.refusalDelay('uid:1')).toBe(LIMITS.maxRefusalDelayMs);
  now = 4_000;
  expect(admission.refusalDelay('uid:1')).toBe(0);
});

test('S20: whatever comes and goes, no share ever has more than its limits', () => {
  const step = fc.record({ share: fc.constantFrom('a', 'b'), release: fc.boolean(), octets: fc.nat(80) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const admission = new Admission(LIMITS);
      const held = new Map<string, { ticket: RequestTicket; octets: number }[]>();
      for (const { share, release, octets } of steps) {
        const mine = held.get(share) ?? [];
        held.set(share, mine);
        if (release) mine.shift()?.ticket.release();
        else if (mine.length < LIMITS.maxRequests) {
          mine.push({ ticket: begin(admission, share), octets: 0 });
          const last = mine.at(-1);
          if (
            last !== undefined &&
            codeOf(() => {
              last.ticket.addOctets(octets);
            }) === undefined
          )
            last.octets = octets;
        }
        expect(mine.reduce((sum, entry) => sum + entry.octets, 0)).toBeLessThanOrEqual(LIMITS.maxOctets);
      }
    }),
  );
});

test('S20: headers of a share count until their requests are over, those of others beside them', () => {
  const admission = new Admission(LIMITS);
  const first = admission.keepHead('uid:1', 1_500);
  expect(first).toBeDefined();
  expect(admission.keepHead('uid:1', 1_500)).toBeUndefined();
  expect(admission.keepHead('uid:2', 1_500)).toBeDefined();
  first?.release();
  first?.release();
  expect(admission.keepHead('uid:1', 1_500)).toBeDefined();
  expect(admission.keepHead('uid:1', 1_500)).toBeUndefined();
});

test('S20: a share has fewer in flight while another is there, and as many as before when it is alone again', async () => {
  const admission = new Admission({ ...LIMITS, maxRequests: 3, maxRequestsBesideOthers: 1 });
  admission.connect('uid:1');
  const alone = [1, 2, 3].map(() => begin(admission, 'uid:1'));
  const leave = admission.connect('uid:2');
  const begun: number[] = [];
  const tickets = [1, 2, 3, 4].map(async (number) => {
    const ticket = await admission.begin('uid:1', staying);
    begun.push(number);
    return ticket;
  });
  // Three are in flight, which are two too many: the first two that end make room for nobody.
  alone[0]?.release();
  alone[1]?.release();
  await turn();
  expect(begun).toEqual([]);
  alone[2]?.release();
  await turn();
  expect(begun).toEqual([1]);
  leave();
  (await tickets[0])?.release();
  await turn();
  expect(begun).toEqual([1, 2, 3, 4]);
});
