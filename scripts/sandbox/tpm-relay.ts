/** A relay in front of swtpm's two sockets that sees every command and may hold or change what passes. */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface TpmRelay {
  /** TCTI configuration, in place of swtpm's own. */
  readonly tcti: string;
  stop(): Promise<void>;
}

/** What becomes of one command. */
export interface Passing {
  /** What the TPM is given. */
  readonly command: Buffer;
  /** What is answered, once it resolves. */
  answer(response: Buffer): Promise<Buffer>;
}

export interface TpmRelayOptions {
  /** swtpm's data socket; its control socket is beside it, as `.ctrl`. */
  readonly tpmSocket: string;
  /** Where to listen. */
  readonly socket: string;
  /** Is called with every command as it came; undefined lets it and its response pass. */
  readonly onCommand: (command: Buffer) => Passing | undefined;
}

/** TPM 2.0 Part 1, 18: tag (2 octets), size of the whole (4), command or response code (4). */
const HEADER_OCTETS = 10;

export async function startTpmRelay({ tpmSocket, socket, onCommand }: TpmRelayOptions): Promise<TpmRelay> {
  const open = new Set<Socket>();
  const data = createServer((client) => {
    relayCommands(client, joined(open, client, tpmSocket), onCommand);
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
    async stop() {
      for (const each of open) each.destroy();
      await Promise.all([closed(data), closed(control)]);
    },
  };
}

/** TPM_CC of a command (TPM 2.0 Part 2, 6.5.2). */
export function commandCode(command: Buffer): number {
  return command.readUInt32BE(6);
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
function relayCommands(client: Socket, tpm: Socket, onCommand: TpmRelayOptions['onCommand']): void {
  const underWay: Passing[] = [];
  const commands = new Frames((frame) => {
    const passing = onCommand(frame) ?? { command: frame, answer: (response) => Promise.resolve(response) };
    underWay.push(passing);
    tpm.write(passing.command);
  });
  const responses = new Frames((frame) => {
    void underWay
      .shift()
      ?.answer(frame)
      .then((answer) => client.write(answer));
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
