/** The C program that makes a slow chip of swtpm: a relay that takes no time of its own between two commands. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface SlowTpm {
  /** TCTI configuration, in place of swtpm's own. */
  readonly tcti: string;
  /** TPM2_Sign commands that have come so far. */
  signs(): Promise<number>;
  stop(): Promise<void>;
}

export interface SlowTpmOptions {
  /** Where the programs of bench/raw were compiled to. */
  readonly programs: string;
  /** swtpm's data socket; its control socket is beside it, as `.ctrl`. */
  readonly tpmSocket: string;
  /** Where to listen. */
  readonly socket: string;
  /** From a TPM2_Sign to its response, in whole milliseconds. */
  readonly signMs: number;
}

export async function startSlowTpm({
  programs,
  tpmSocket,
  socket,
  signMs,
}: SlowTpmOptions): Promise<SlowTpm> {
  const relay = spawn(join(programs, 'slow_tpm'), [socket, tpmSocket, String(signMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(relay, 'exit');
  const lines = createInterface(relay.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the slow TPM has ended');
    return value;
  };
  await next();
  return {
    tcti: `swtpm:path=${socket}`,
    async signs() {
      relay.stdin.write('\n');
      return Number(await next());
    },
    async stop() {
      relay.stdin.end();
      await exited;
    },
  };
}
