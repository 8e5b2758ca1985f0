/**
 * S20: a TPM that takes its time. It answers when the test says so, so that what is counted here does not depend
 * on how fast anything is.
 */
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startSlowTpm, type SlowTpm } from '../../scripts/sandbox/slow-tpm.ts';
import { startBusyCaller, type BusyCaller } from '../support/busy-caller.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { requestAs, type SocketAnswer } from '../support/http-over-socket.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';

const MANY_UID = 41_001;
const ONE_UID = 41_002;
const SIGN_MS = 200;
const REQUEST = { htm: 'GET', htu: 'https://api.example/read' };

/** Holds the TPM's signatures once it is shut, and lets them out one by one, each after the same time. */
class Gate {
  readonly held: (() => void)[] = [];
  #isShut = false;
  #since = 0;

  readonly hold = (): Promise<void> => {
    this.#since = performance.now();
    return this.#isShut ? new Promise((resolve) => this.held.push(resolve)) : Promise.resolve();
  };

  shut(): void {
    this.#isShut = true;
  }

  async letOne(): Promise<void> {
    await expect.poll(() => this.held.length).toBe(1);
    // The queue shares out time, not turns: where all take the same, one is the other.
    await delay(Math.max(0, SIGN_MS - (performance.now() - this.#since)));
    this.held.pop()?.();
  }

  open(): void {
    this.#isShut = false;
    for (const letOut of this.held.splice(0)) letOut();
  }
}

let swtpm: TestSwtpm;
let tpm: SlowTpm;
let daemon: TestDaemon;
const gate = new Gate();
const callers: BusyCaller[] = [];

async function start(limits: Readonly<Record<string, number>>): Promise<void> {
  daemon = await startDaemon({
    tpm,
    config: {
      limits,
      audit: { checkpoint_seconds: 3_600 },
      policy: {
        create: [{ uids: [0, MANY_UID, ONE_UID], names: ['*'] }],
        roles: { operate: [{ uids: [0] }] },
        jwt_types: ['*'],
      },
    },
  });
  await chmod(daemon.dir, 0o711);
  await chmod(daemon.socketPath, 0o666);
}

beforeAll(async () => {
  swtpm = await startSwtpm();
  tpm = await startSlowTpm({
    tpmSocket: join(swtpm.dir, 'tpm'),
    socket: join(swtpm.dir, 'slow'),
    hold: gate.hold,
  });
});
afterEach(async () => {
  for (const caller of callers.splice(0)) await caller.kill();
  gate.open();
  await daemon.remove();
});
afterAll(async () => {
  await tpm.stop();
  await swtpm.stop();
});

function busyCaller(uid: number, connections: number): readonly string[] {
  const caller = startBusyCaller(uid, daemon.socketPath, `a${uid}`, connections);
  callers.push(caller);
  return caller.answers;
}

async function makeAgent(uid: number): Promise<void> {
  const request = { name: `a${uid}`, backend: 'tpm', algorithm: 'ES256' };
  expect((await requestAs(uid, daemon.socketPath, 'POST', '/v1/agents', request)).status).toBe(201);
}

/** The value of one sample of /metrics; 0 where there is none. */
async function metric(sample: string): Promise<number> {
  const { text } = await daemon.admin('GET', '/metrics');
  const line = text.split('\n').find((each) => each.startsWith(`${sample} `));
  return Number(line?.slice(sample.length + 1) ?? 0);
}

const inFlight = (): Promise<number> => metric('agentkeyd_requests_in_flight{socket="shared"}');

const refusals = (code: string, stage: 'waiting' | 'running' = 'waiting'): Promise<number> =>
  metric(`agentkeyd_queue_refusals_total{backend="tpm",code="${code}",stage="${stage}"}`);

const sign = (uid: number): Promise<SocketAnswer> =>
  daemon.request('POST', `/v1/agents/a${uid}/sign/dpop`, REQUEST);

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

test('S20: one connection gets as much of the TPM as another caller’s 200; nothing is signed for those who leave', async () => {
  const connections = 200;
  // The test takes its time between signatures: nobody is to be refused for that.
  await start({
    requests_per_caller: 256,
    requests_beside_others: 256,
    queue_per_caller: 256,
    deadline_seconds: 300,
  });
  await makeAgent(MANY_UID);
  await makeAgent(ONE_UID);
  const many = busyCaller(MANY_UID, connections);
  const one = busyCaller(ONE_UID, 1);
  await expect.poll(() => Math.min(many.length, one.length)).toBeGreaterThan(0);
  gate.shut();
  const signOne = async (): Promise<void> => {
    // Whoever was answered has asked again before the next signature is made.
    await expect.poll(inFlight).toBe(connections + 1);
    const answered = many.length + one.length;
    await gate.letOne();
    await expect.poll(() => many.length + one.length).toBe(answered + 1);
  };
  // Until what was owed from before is paid, and the queue has learnt how long one takes now.
  for (let round = 0; round < 12; round += 1) await signOne();
  const signsBefore = tpm.signs;
  const rounds = 30;
  // What is shared is the TPM's time: how long one takes here is this test's doing, and a loaded machine's.
  const tookMs = { many: [] as number[], one: [] as number[] };
  let endedAtMs = performance.now();
  for (let round = 0; round < rounds; round += 1) {
    const ofOne = one.length;
    await signOne();
    const nowMs = performance.now();
    tookMs[one.length > ofOne ? 'one' : 'many'].push(nowMs - endedAtMs);
    endedAtMs = nowMs;
  }
  expect(new Set([...many, ...one])).toEqual(new Set(['200']));
  const difference = Math.abs(sum(tookMs.many) - sum(tookMs.one));
  const total = sum([...tookMs.many, ...tookMs.one]);
  // One service can not be divided: only where a stall made one longer than that may they be further apart.
  expect(difference).toBeLessThanOrEqual(Math.max(0.1 * total, ...tookMs.many, ...tookMs.one));
  await expect.poll(inFlight).toBe(connections + 1);
  await expect.poll(() => gate.held.length).toBe(1);
  expect(tpm.signs - signsBefore).toBeGreaterThanOrEqual(rounds);
  const signs = tpm.signs;

  // All go away: what the TPM is at is finished, and nothing else of theirs is begun.
  for (const caller of callers.splice(0)) await caller.kill();
  await expect.poll(inFlight).toBe(0);
  gate.open();
  await expect.poll(() => metric('agentkeyd_queue_running{backend="tpm"}')).toBe(0);
  expect(tpm.signs).toBe(signs);
  await makeAgent(0);
  expect((await sign(0)).status).toBe(200);
  // Counted: also the one that the TPM was at, and those that were handed over behind it and taken back.
  const running = await refusals('caller_gone', 'running');
  expect(running).toBeGreaterThanOrEqual(1);
  expect((await refusals('caller_gone')) + running).toBe(connections + 1);
  const served = await metric('agentkeyd_queue_wait_seconds_count{backend="tpm"}');
  expect(served).toBeGreaterThanOrEqual(many.length + one.length + 2);
});

test('S20: a full queue is 429 with an honest Retry-After, a deadline 503; neither reaches the TPM, and then all is well', async () => {
  await start({ queue_per_caller: 4, deadline_seconds: 5 });
  await makeAgent(0);
  const before = tpm.signs;
  gate.shut();
  const asked = [sign(0)];
  await expect.poll(() => gate.held.length).toBe(1);
  // Overdue: the next is handed over, to have its turn the moment that the TPM is done.
  asked.push(sign(0));
  await expect.poll(() => metric('agentkeyd_queue_running{backend="tpm"}')).toBe(2);
  for (let index = 0; index < 4; index += 1) asked.push(sign(0));
  await expect.poll(() => metric('agentkeyd_queue_waiting{backend="tpm"}')).toBe(4);
  const refused = await sign(0);
  const serviceSeconds = await metric('agentkeyd_queue_service_seconds{backend="tpm"}');
  const honest = Math.max(1, Math.ceil((4 + 2) * serviceSeconds));
  expect(refused).toMatchObject({
    status: 429,
    headers: { 'retry-after': String(honest) },
    json: { code: 'too_many_requests', retryAfterSeconds: honest },
  });
  for (const answer of await Promise.all(asked)) {
    expect(answer).toMatchObject({ status: 503, json: { code: 'deadline_exceeded' } });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  }
  // One that is handed over past its deadline is refused by its grant, which no queue counts.
  const running = await refusals('deadline_exceeded', 'running');
  expect(running).toBeGreaterThanOrEqual(2);
  expect((await refusals('deadline_exceeded')) + running).toBeLessThanOrEqual(2 + 4);
  expect(await refusals('too_many_requests')).toBe(1);
  gate.open();
  expect((await sign(0)).status).toBe(200);
  expect(tpm.signs - before).toBe(2);
});
