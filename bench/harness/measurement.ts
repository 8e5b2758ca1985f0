/** One thing that is measured: run once a round, in an order that changes. */
import { shuffled, spread, type Spread } from './stats.ts';

/** What one run gives. Times in microseconds. */
export interface Sample {
  readonly opsPerS: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** CPU of the program under test, of its module hosts and of the load generator, per operation. */
  readonly serverCpuUs?: number;
  readonly hostCpuUs?: number;
  readonly loaderCpuUs?: number;
}

export interface Measurement {
  readonly name: string;
  run(seconds: number): Promise<Sample>;
}

/** Samples by measurement, one a round; index = round. */
export type Results = ReadonlyMap<string, readonly Sample[]>;

/** Before each run, for what has been idle meanwhile: its pages and caches are not what they are under load. */
const RAMP_S = 0.5;

/** Those whose figures are divided by one another: they follow one another in a round, so that both met one machine. */
export type Group = readonly Measurement[];

/** Runs all groups `rounds` times, each round and each group in another order, after one round to warm up. */
export async function measure(
  groups: readonly Group[],
  rounds: number,
  seconds: number,
  say: (line: string) => void,
): Promise<Results> {
  const measurements = groups.flat();
  const results = new Map<string, Sample[]>(measurements.map(({ name }) => [name, []]));
  // A whole round that does not count: V8 compiles what is hot only after tens of thousands of requests.
  for (const measurement of measurements) await measurement.run(seconds);
  for (let round = 1; round <= rounds; round += 1) {
    for (const { name, run } of shuffled(groups).flatMap(shuffled)) {
      await run(RAMP_S);
      const sample = await run(seconds);
      results.get(name)?.push(sample);
      say(
        `round ${round}/${rounds}  ${name.padEnd(28)} ${Math.round(sample.opsPerS).toString().padStart(7)}/s  p50 ${sample.p50Us.toFixed(0)} us  p99 ${sample.p99Us.toFixed(0)} us`,
      );
    }
  }
  return results;
}

/** `numerator` over `denominator`, round by round: both saw the same phase of the machine. */
export function ratio(
  results: Results,
  numerator: string,
  denominator: string,
  of: (sample: Sample) => number = ({ opsPerS }) => opsPerS,
): Spread | undefined {
  const upper = results.get(numerator);
  const lower = results.get(denominator);
  if (upper === undefined || lower === undefined || upper.length === 0) return undefined;
  return spread(
    upper.flatMap((sample, round) => {
      const other = lower[round];
      return other === undefined ? [] : [of(sample) / of(other)];
    }),
  );
}

/** `a` less `b`, round by round. */
export function difference(
  results: Results,
  a: string,
  b: string,
  of: (sample: Sample) => number,
): Spread | undefined {
  const left = results.get(a);
  const right = results.get(b);
  if (left === undefined || right === undefined || left.length === 0) return undefined;
  return spread(
    left.flatMap((sample, round) => {
      const other = right[round];
      return other === undefined ? [] : [of(sample) - of(other)];
    }),
  );
}

export function absolute(
  results: Results,
  name: string,
  of: (sample: Sample) => number = ({ opsPerS }) => opsPerS,
): Spread | undefined {
  const samples = results.get(name);
  return samples === undefined || samples.length === 0 ? undefined : spread(samples.map(of));
}
