/** Runs somebody's program for as long as an ephemeral sub-agent lives. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { asKeydError, KeydError } from '../wire/problem.ts';

export interface ProgramEnvironment {
  /** Name of the sub-agent, `AGENTKEY_AGENT` of the program. */
  readonly agent: string;
  readonly socketPath: string;
}

/** What a shell says for a program that a signal ended. */
const BY_SIGNAL = 128;

/**
 * The program's exit status. Signals that end this process are for the program to take: the sub-agent ends
 * after it, never before.
 * @throws KeydError `malformed_request` where it can not be started
 */
export async function runFor(
  [program = '', ...args]: readonly string[],
  { agent, socketPath }: ProgramEnvironment,
): Promise<number> {
  const child = spawn(program, args, {
    stdio: 'inherit',
    env: { ...process.env, AGENTKEY_AGENT: agent, AGENTKEYD_SOCKET: socketPath },
  });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  // The terminal sends an interrupt to the program as well.
  const wait = (): void => undefined;
  process.on('SIGTERM', pass).on('SIGHUP', pass).on('SIGINT', wait);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? BY_SIGNAL + (signal === null ? 0 : constants.signals[signal]);
  } catch (thrown) {
    throw new KeydError('malformed_request', `can not run ${program}: ${asKeydError(thrown).message}`, {
      cause: thrown,
    });
  } finally {
    process.off('SIGTERM', pass).off('SIGHUP', pass).off('SIGINT', wait);
  }
}
