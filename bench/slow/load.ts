/** Load on a daemon as a user of one's own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  /** Answers that are no success. */
  readonly failed: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

interface LoadOutput {
  readonly requests: number;
  readonly seconds: number;
  readonly failed: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly max_us: number;
}

/** `connections` that each ask again as soon as they are answered, whatever the answer. */
export function flood(
  programs: string,
  uid: number,
  target: { readonly socket: string; readonly requestFile: string },
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  return runAs(programs, uid, 'http_load', [target.socket, target.requestFile, connections, seconds]);
}

/** One connection that asks `rate` times a second. */
export function paced(
  programs: string,
  uid: number,
  target: { readonly socket: string; readonly requestFile: string },
  rate: number,
  seconds: number,
): Promise<LoadResult> {
  return runAs(programs, uid, 'paced_load', [target.socket, target.requestFile, rate, seconds]);
}

async function runAs(
  programs: string,
  uid: number,
  program: 'http_load' | 'paced_load',
  args: readonly (string | number)[],
): Promise<LoadResult> {
  const { stdout } = await run('setpriv', [
    ...[`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', join(programs, program)],
    ...args.map(String),
  ]);
  const {
    requests,
    seconds,
    failed,
    p50_us: p50Us,
    p99_us: p99Us,
    max_us: maxUs,
  } = JSON.parse(stdout) as LoadOutput;
  return { requests, seconds, failed, p50Us, p99Us, maxUs };
}
