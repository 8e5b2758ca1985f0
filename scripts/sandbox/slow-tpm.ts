/**
 * A TPM as slow as a discrete one: a relay in front of swtpm that holds every TPM2_Sign until it has taken its
 * time. All else passes as fast as swtpm answers.
 */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface SlowTpm {
  /** TCTI configuration, in place of swtpm's own. */
  readonly tcti: string;
  /** TPM2_Sign commands that have come so far. */
  readonly signs: number;
  stop(): Promise<void>;
}

export interface SlowTpmOptions {
  /** swtpm's data socket; its control socket is beside it, as `.ctrl`. */
  readonly tpmSocket: string;
  /** Where to listen. */
  readonly socket: string;
  /** Is called when a TPM2_Sign has come; its response leaves once this has resolved. */
  readonly hold: () => Promise<void>;
}

/** TPM 2.0 Part 1, 18: tag (2 octets), size of the whole (4), command or response code (4). */
const HEADER_OCTETS = 10;
/** TPM 2.0 Part 2, 6.5.2. */
const TPM_CC_SIGN = 0x0000015d;
/** What a timer may be late by; the rest of a hold is waited for in turns of the event loop. */
const TIMER_SLACK_MS = 1.5;

export async function startSlowTpm({ tpmSocket, socket, hold }: SlowTpmOptions): Promise<SlowTpm> {
  let signs = 0;
  const open = new Set<Socket>();
  const data = createServer((client) => {
    relayCommands(client, joined(open, client, tpmSocket), () => {
      signs += 1;
      return hold();
    });
  });
  const control = createServer((client) => {
    const tpm = joined(open, client, `${tpmSocket}.ctrl`);
    client.pipe(tpm);
    tpm.pipe(client);
  });
  await listen(data, socket);
  await listen(control, `${socket}.ctrl`);
  return {
    tcti: `swtpm:path=${socket}`,
    get signs() {
      return signs;
    },
    async stop() {
      for (const each of open) each.destroy();
      await Promise.all([closed(data), closed(control)]);
    },
  };
}

/** From a TPM2_Sign to its response, in milliseconds; a discrete TPM takes 10 to 150. */
export function lasting(signMs: number): () => Promise<void> {
  return () =>
    new Promise((resolve) => {
      at(performance.now() + signMs, resolve);
    });
}

/** A connection to swtpm that ends with the client's, and the other way round. */
function joined(open: Set<Socket>, client: Socket, path: string): Socket {
  const tpm = connect(path);
  for (const [one, other] of [
    [client, tpm],
    [tpm, client],
  ] as const) {
    open.add(one);
    one.on('error', () => other.destroy());
    one.on('close', () => {
      open.delete(one);
      other.destroy();
    });
  }
  return tpm;
}

/** A TPM answers in order, one command at a time. */
function relayCommands(client: Socket, tpm: Socket, onSign: () => Promise<void>): void {
  const holds: Promise<void>[] = [];
  const commands = new Frames((frame) => {
    holds.push(frame.readUInt32BE(6) === TPM_CC_SIGN ? onSign() : Promise.resolve());
    tpm.write(frame);
  });
  const responses = new Frames((frame) => {
    void holds.shift()?.then(() => client.write(frame));
  });
  client.on('data', (chunk: Buffer) => {
    commands.add(chunk);
  });
  tpm.on('data', (chunk: Buffer) => {
    responses.add(chunk);
  });
}

/** Cuts a stream into whole commands or responses. */
class Frames {
  readonly #onFrame: (frame: Buffer) => void;
  #held: Buffer = Buffer.alloc(0);

  constructor(onFrame: (frame: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  add(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= HEADER_OCTETS) {
      const size = this.#held.readUInt32BE(2);
      if (size < HEADER_OCTETS) throw new RangeError(`a TPM command of ${size} octets`);
      if (this.#held.length < size) return;
      const frame = this.#held.subarray(0, size);
      this.#held = this.#held.subarray(size);
      this.#onFrame(frame);
    }
  }
}

function at(dueMs: number, act: () => void): void {
  const leftMs = dueMs - performance.now();
  if (leftMs <= 0) act();
  else if (leftMs <= TIMER_SLACK_MS) {
    setImmediate(() => {
      at(dueMs, act);
    });
  } else {
    setTimeout(() => {
      at(dueMs, act);
    }, leftMs - TIMER_SLACK_MS);
  }
}

async function listen(server: Server, path: string): Promise<void> {
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve);
  });
}

async function closed(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}
