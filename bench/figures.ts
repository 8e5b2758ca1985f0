/** The figures that the project is held to, by the names that `--json` uses. */
import { absolute, difference, ratio, type Results } from './harness/measurement.ts';
import { format } from './harness/plot.ts';
import type { Spread } from './harness/stats.ts';
import { stepsName } from './subjects/raw-token.ts';
import type { ScaleSizes } from './subjects/scale/context.ts';

export interface Figure {
  readonly name: string;
  readonly what: string;
  readonly spread: Spread | undefined;
  /** The same of the required steps alone, in C; undefined where it is not about a token. */
  readonly steps?: Spread | undefined;
  readonly atLeast: string;
  readonly aim: string;
  readonly isReached: (median: number) => boolean;
}

export interface Figures {
  readonly all: readonly Figure[];
  readonly lines: readonly string[];
}

const PAY = 'pay-pkcs11 http-message';
const PLAIN = 'p256-pkcs11 http-message';
const TPM = 'pay-tpm http-message';

/** What is measured once, outside the rounds. */
export type OnceFigures = Readonly<Partial<Record<OnceName, Spread>>>;
export type OnceName =
  | 'policies_1000_vs_10'
  | 'agents_10k_vs_10'
  | 'audit_1m_vs_10k'
  | 'start_ready_s'
  | 'resident_mib'
  | 'issuances_per_s';

const atLeast =
  (bound: number) =>
  (median: number): boolean =>
    median >= bound;
const atMost =
  (bound: number) =>
  (median: number): boolean =>
    median <= bound;

/** @param sizes what scale was measured at: where it is less than the bound is for, the figure says so */
export function figures(results: Results, once: OnceFigures, sizes: ScaleSizes): Figures {
  const agents = sizes.agents.toLocaleString('en');
  const entries = sizes.auditEntries.toLocaleString('en');
  const all: readonly Figure[] = [
    floor(
      'pkcs11_bare_vs_raw',
      'P-256 on SoftHSM, bare, 64 connections / raw C_Sign on 2 threads',
      0.45,
      0.6,
      ...beside(results, `bare ${PLAIN} c64`, stepsName('bare', 64), 'raw ecdsa t2'),
    ),
    floor(
      'pkcs11_full_vs_raw',
      'the same, full',
      0.35,
      0.5,
      ...beside(results, `full ${PAY} c64`, stepsName('full', 64), 'raw ecdsa t2'),
    ),
    floor(
      'tpm_full_vs_raw',
      'P-256 on swtpm, full, 8 connections / raw ESYS loop',
      0.9,
      0.95,
      ratio(results, `full ${TPM} c8`, 'raw esys'),
    ),
    floor(
      'tpm_full_vs_raw_64',
      'the same, 64 connections',
      0.95,
      1.0,
      ratio(results, `full ${TPM} c64`, 'raw esys'),
    ),
    floor(
      'vs_ssh_agent_pkcs11',
      'bare, 8 connections / ssh-agent with the same module',
      5,
      6,
      ...beside(results, `bare ${PLAIN} c8`, stepsName('bare', 8), 'ssh-agent c8'),
    ),
    floor(
      'full_vs_ssh_agent_pkcs11',
      'the same, full',
      3,
      4,
      ...beside(results, `full ${PAY} c8`, stepsName('full', 8), 'ssh-agent c8'),
    ),
    floor(
      'vs_p11_kit',
      'bare, 8 connections / p11-kit server',
      1.0,
      1.3,
      ...beside(results, `bare ${PLAIN} c8`, stepsName('bare', 8), 'p11-kit c8'),
    ),
    floor(
      'full_vs_p11_kit',
      'the same, full',
      0.7,
      1.0,
      ...beside(results, `full ${PAY} c8`, stepsName('full', 8), 'p11-kit c8'),
    ),
    ceiling(
      'added_p50_us',
      'added p50 of full over raw C_Sign, 1 connection, µs',
      450,
      300,
      difference(results, `full ${PAY} c1`, 'raw ecdsa t1', ({ p50Us }) => p50Us),
      difference(results, stepsName('full', 1), 'raw ecdsa t1', ({ p50Us }) => p50Us),
    ),
    ceiling(
      'p99_ms',
      'p99 of full, 8 connections, ms',
      3,
      2,
      absolute(results, `full ${PAY} c8`, ({ p99Us }) => p99Us / 1000),
      absolute(results, stepsName('full', 8), ({ p99Us }) => p99Us / 1000),
    ),
    ceiling('policies_1000_vs_10', 'cost at 1,000 policies / at 10', 1.5, 1.1, once.policies_1000_vs_10),
    ceiling(
      'agents_10k_vs_10',
      `cost at ${agents} TPM agents / at 10, beyond one ContextLoad each`,
      1.3,
      1.1,
      once.agents_10k_vs_10,
    ),
    ceiling(
      'audit_1m_vs_10k',
      `cost after ${entries} audit entries / of the first 10,000`,
      1.1,
      1.0,
      once.audit_1m_vs_10k,
    ),
    ceiling('start_ready_s', `start to READY with ${agents} TPM agents, s`, 1, 0.5, once.start_ready_s),
    ceiling('resident_mib', 'resident memory of the main process then, MiB', 150, 100, once.resident_mib),
    floor(
      'issuances_per_s',
      'attested issuances a second on one issuer core',
      300,
      1000,
      once.issuances_per_s,
    ),
  ];
  return { all, lines: all.map(line) };
}

/** One object: each figure's median, minimum and maximum; null where it was not measured. */
export function toJson({ all }: Figures): Readonly<Record<string, unknown>> {
  return Object.fromEntries([
    ...all.map(({ name, spread }) => [name, spread === undefined ? null : round(spread.median)]),
    [
      'spread',
      Object.fromEntries(
        all.flatMap(({ name, spread }) =>
          spread === undefined ? [] : [[name, [round(spread.min), round(spread.max)]]],
        ),
      ),
    ],
  ]);
}

export function verdict({ spread, isReached }: Figure): string {
  if (spread === undefined) return 'not measured';
  return isReached(spread.median) ? 'reached' : 'missed';
}

/** A daemon's rate, and that of the required steps alone, over the same `denominator`. */
function beside(
  results: Results,
  daemon: string,
  steps: string,
  denominator: string,
): readonly [Spread | undefined, Spread | undefined] {
  return [ratio(results, daemon, denominator), ratio(results, steps, denominator)];
}

function floor(
  name: string,
  what: string,
  least: number,
  aim: number,
  spread: Spread | undefined,
  steps?: Spread,
): Figure {
  return { name, what, spread, steps, atLeast: `${least}`, aim: `${aim}`, isReached: atLeast(least) };
}

function ceiling(
  name: string,
  what: string,
  most: number,
  aim: number,
  spread: Spread | undefined,
  steps?: Spread,
): Figure {
  return { name, what, spread, steps, atLeast: `${most} or less`, aim: `${aim}`, isReached: atMost(most) };
}

function line(figure: Figure): string {
  const { name, spread, atLeast: bound, aim } = figure;
  const value =
    spread === undefined ? '-' : `${format(spread.median)} [${format(spread.min)}..${format(spread.max)}]`;
  return `${name.padEnd(26)} ${value.padEnd(24)} bound ${bound.padEnd(12)} aim ${aim.padEnd(6)} ${verdict(figure)}`;
}

function round(value: number): number {
  return Number(value.toPrecision(5));
}
