/** What two callers get of hardware that is slow, or that one of them floods. */
import { setTimeout as delay } from 'node:timers/promises';
import { cpuBetween, processCpu } from '../harness/process-cpu.ts';
import { spread, type Spread } from '../harness/stats.ts';
import { FLOOD_UID, LIGHT_UID, type Backend, type SlowHost } from './host.ts';
import { flood, paced, type LoadResult } from './load.ts';

export interface SlowFigure {
  readonly name: string;
  readonly what: string;
  readonly bound: string;
  readonly spread: Spread;
  readonly isReached: boolean;
}

/** As many as keep any of the two backends busy ten times over. */
const FLOOD_CONNECTIONS = 200;
/** Of the well-behaved caller, a second: a third of what the TPM can do, and little of the token. */
const LIGHT_RATE = { tpm: 10, pkcs11: 50 } as const;
/** A flood is under way before anything is measured beside it, and after. */
const AROUND_S = 1.5;

interface Round {
  readonly rate: number;
  readonly cpuMs: number;
  readonly fairness: number;
  readonly tpmP99: number;
  readonly tokenP99: number;
}

/** Rounds of `seconds` for each scenario; ratios are of one round. */
export async function measureSlow(
  programs: string,
  host: SlowHost,
  { signMs, rounds, seconds }: { readonly signMs: number; readonly rounds: number; readonly seconds: number },
  say: (line: string) => void,
): Promise<readonly SlowFigure[]> {
  const load = new Load(programs, host);
  // To warm up.
  await load.flood('pkcs11', 32, 2);
  await load.flood('tpm', 64, 4);
  const all: Round[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    // Twice as long: what is under way at the end is not counted, and would be seen in a rate.
    const saturated = await load.saturate(2 * seconds);
    const one: Round = {
      rate: (saturated.opsPerS * signMs) / 1000,
      cpuMs: saturated.cpuMs,
      fairness: await load.fairness(seconds),
      tpmP99: await load.lightBesideFlood('tpm', seconds),
      tokenP99: await load.lightBesideFlood('pkcs11', seconds),
    };
    all.push(one);
    say(`round ${round}/${rounds}  ${JSON.stringify(one)}`);
  }
  const of = (value: (round: Round) => number): Spread => spread(all.map(value));
  return [
    atLeast(
      'slow_rate',
      `signatures a second on a TPM of ${signMs} ms, × ${signMs} ms, 64 connections`,
      0.97,
      of(({ rate }) => rate),
    ),
    atMost(
      'slow_cpu_ms',
      'CPU of the daemon for one of them, ms',
      5,
      of(({ cpuMs }) => cpuMs),
    ),
    atLeast(
      'slow_fairness',
      'what 1 connection gets beside another caller’s 200, of its half',
      0.9,
      of(({ fairness }) => fairness),
    ),
    atMost(
      'slow_light_p99',
      'p99 of a well-behaved caller beside a flood, on the slow TPM, × its idle p99',
      3,
      of(({ tpmP99 }) => tpmP99),
    ),
    atMost(
      'flood_light_p99',
      'the same on SoftHSM',
      3,
      of(({ tokenP99 }) => tokenP99),
    ),
  ];
}

class Load {
  readonly #programs: string;
  readonly #host: SlowHost;

  constructor(programs: string, host: SlowHost) {
    this.#programs = programs;
    this.#host = host;
  }

  flood(backend: Backend, connections: number, seconds: number, uid = FLOOD_UID): Promise<LoadResult> {
    return flood(this.#programs, uid, this.#target(uid, backend), connections, seconds);
  }

  async saturate(seconds: number): Promise<{ readonly opsPerS: number; readonly cpuMs: number }> {
    const pid = this.#host.daemon.pid ?? 0;
    const before = processCpu(pid);
    const { requests, seconds: took } = await this.flood('tpm', 64, seconds);
    const { ownUs, childrenUs } = cpuBetween(before, processCpu(pid));
    return { opsPerS: requests / took, cpuMs: (ownUs + childrenUs) / requests / 1000 };
  }

  /** What one connection got of all signatures made meanwhile; 1 is its half. */
  async fairness(seconds: number): Promise<number> {
    return this.#besideFlood('tpm', seconds, async () => {
      const before = await this.#host.tpm.signs();
      const { requests } = await this.flood('tpm', 1, seconds, LIGHT_UID);
      return (2 * requests) / ((await this.#host.tpm.signs()) - before);
    });
  }

  async lightBesideFlood(backend: Backend, seconds: number): Promise<number> {
    const idle = await this.#light(backend, seconds);
    const loaded = await this.#besideFlood(backend, seconds, () => this.#light(backend, seconds));
    return loaded.p99Us / idle.p99Us;
  }

  async #besideFlood<T>(backend: Backend, seconds: number, act: () => Promise<T>): Promise<T> {
    const flooding = this.flood(backend, FLOOD_CONNECTIONS, seconds + 2 * AROUND_S);
    await delay(AROUND_S * 1000);
    const result = await act();
    const { failed } = await flooding;
    if (failed > 0) throw new Error(`${failed} requests of the flood failed`);
    return result;
  }

  async #light(backend: Backend, seconds: number): Promise<LoadResult> {
    const target = this.#target(LIGHT_UID, backend);
    const result = await paced(this.#programs, LIGHT_UID, target, LIGHT_RATE[backend], seconds);
    if (result.failed > 0) throw new Error(`${result.failed} requests of the well-behaved caller failed`);
    return result;
  }

  #target(uid: number, backend: Backend): { readonly socket: string; readonly requestFile: string } {
    return { socket: this.#host.daemon.socketPath, requestFile: this.#host.requestFile(uid, backend) };
  }
}

function atLeast(name: string, what: string, bound: number, found: Spread): SlowFigure {
  return { name, what, bound: `${bound}`, spread: found, isReached: found.median >= bound };
}

function atMost(name: string, what: string, bound: number, found: Spread): SlowFigure {
  return { name, what, bound: `${bound} or less`, spread: found, isReached: found.median <= bound };
}
