import { DatabaseSync } from 'node:sqlite';
import { beforeEach, expect, test } from 'vitest';
import type { Caller } from '../../../src/caller/caller.ts';
import { openIdempotencyStore } from '../../../src/daemon/state/idempotency-rows.ts';
import { STATE_MIGRATIONS } from '../../../src/daemon/state/migrations.ts';
import {
  Idempotency,
  parseIdempotencyKey,
  type IdempotentCall,
  type StoredAnswer,
} from '../../../src/socket/idempotency.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';

const CALLER: Caller = { ingress: { kind: 'shared' }, uid: 1000, gid: 1000, groups: [], pid: 1 };

let database: DatabaseSync;
let nowMs: number;
let effects: number;

beforeEach(() => {
  database = new DatabaseSync(':memory:');
  for (const script of STATE_MIGRATIONS) database.exec(script);
  nowMs = 1_000;
  effects = 0;
});

/** A process over the same database: what a restart leaves. */
function process(maxRowsPerCaller = 3): Idempotency {
  return new Idempotency({ store: openIdempotencyStore(database), maxRowsPerCaller, now: () => nowMs });
}

function call(more: Partial<IdempotentCall> = {}): IdempotentCall {
  return {
    caller: CALLER,
    key: 'key-1',
    operation: 'createAgent',
    agent: '',
    body: Buffer.from('{}'),
    answerLifeMs: 1_000,
    ...more,
  };
}

function work(): Promise<StoredAnswer> {
  effects += 1;
  return Promise.resolve({
    status: 201,
    body: String(effects),
    mediaType: 'application/json',
    headers: { 'x-n': String(effects) },
  });
}

test('a repetition gets the first answer and has no effect, also after a restart', async () => {
  const first = await process().run(call(), work);
  expect(await process().run(call(), work)).toEqual(first);
  expect(effects).toBe(1);
});

test.each([
  ['body', { body: Buffer.from('{ }') }],
  ['operation', { operation: 'rotateAgent' }],
  ['agent', { agent: 'other' }],
])('S12: the same key for another %s is refused', async (_what, change) => {
  const idempotency = process();
  await idempotency.run(call(), work);
  expect(await codeOfAsync(() => idempotency.run(call(change), work))).toBe('idempotency_mismatch');
  expect(effects).toBe(1);
});

test.each([
  ['uid', { uid: 1001 }],
  ['unit', { unit: 'other.service' }],
  ['container', { containerId: 'ab'.repeat(32) }],
  ['socket', { ingress: { kind: 'admin' } }],
  ['agent socket', { ingress: { kind: 'agent', agentName: 'a' } }],
] as const)('S12: the same key of a caller with another %s is that caller’s own', async (_what, change) => {
  const idempotency = process();
  await idempotency.run(call(), work);
  await idempotency.run(call({ caller: { ...CALLER, ...change } }), work);
  expect(effects).toBe(2);
});

test('another process of the same caller is the same caller', async () => {
  const idempotency = process();
  await idempotency.run(call(), work);
  await idempotency.run(call({ caller: { ...CALLER, pid: 2, startTimeTicks: '9' } }), work);
  expect(effects).toBe(1);
});

test('S12: an answer expires', async () => {
  const idempotency = process();
  await idempotency.run(call(), work);
  nowMs += 1_001;
  await idempotency.run(call(), work);
  expect(effects).toBe(2);
});

test('a call that fails leaves nothing and may be repeated', async () => {
  const idempotency = process();
  const failing = (): Promise<StoredAnswer> => Promise.reject(new KeydError('tpm_retry', 'later'));
  expect(await codeOfAsync(() => idempotency.run(call(), failing))).toBe('tpm_retry');
  expect((await idempotency.run(call(), work)).status).toBe(201);
});

test('while the first call runs, the second is told so; after a crash its outcome is unknown', async () => {
  const idempotency = process();
  const { promise, resolve } = Promise.withResolvers<StoredAnswer>();
  const first = idempotency.run(call(), () => promise);
  expect(await codeOfAsync(() => idempotency.run(call(), work))).toBe('conflict');
  // Another process over the same rows is one that began after a crash.
  const after = process();
  await expect(after.run(call(), work)).rejects.toThrow(/outcome is unknown/);
  expect(effects).toBe(0);
  resolve({ status: 200, body: '', mediaType: '', headers: {} });
  await first;
});

test('S20: the keys of one caller are bounded, and those of others are not touched', async () => {
  const idempotency = process(2);
  await idempotency.run(call({ key: 'a' }), work);
  await idempotency.run(call({ key: 'b' }), work);
  expect(await codeOfAsync(() => idempotency.run(call({ key: 'c' }), work))).toBe('too_many_requests');
  await idempotency.run(call({ key: 'c', caller: { ...CALLER, uid: 1001 } }), work);
  nowMs += 1_001;
  await idempotency.run(call({ key: 'c' }), work);
  expect(effects).toBe(4);
  expect(database.prepare('SELECT count(*) AS n FROM idempotency').get()?.['n']).toBe(1);
});

test.each(['', 'a b', 'ä', 'x'.repeat(129), 'a\u0000'])('the key %j is refused', (key) => {
  expect(codeOf(() => parseIdempotencyKey(key))).toBe('malformed_request');
});
