/** Where a socket listens: a path that we make, or a descriptor that systemd hands over. */
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { KeydError } from '../wire/problem.ts';

export type ListenAddress =
  | { readonly path: string; readonly mode: number; readonly gid?: number }
  /** From `LISTEN_FDS`; already bound, with the mode and owner its unit says. */
  | { readonly fd: number };

/** `sun_path` holds 108 octets with the final NUL (unix(7)). */
export const MAX_SOCKET_PATH_OCTETS = 107;
const BACKLOG = 1024;
const PROBE_TIMEOUT_MS = 2_000;

/** @throws KeydError `conflict` where another process listens there, `configuration_invalid` where it can not be made */
export async function listenAt(server: Server, address: ListenAddress): Promise<void> {
  if ('fd' in address) {
    await listening(server, () => server.listen({ fd: address.fd, backlog: BACKLOG }), `fd ${address.fd}`);
    return;
  }
  const { path, mode, gid } = address;
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_OCTETS) {
    throw new KeydError(
      'configuration_invalid',
      `the socket path ${path} is longer than ${MAX_SOCKET_PATH_OCTETS} octets`,
    );
  }
  await removeStale(path);
  // Nobody gets in between bind and chmod.
  const umask = process.umask(0o177);
  let bound: Promise<void>;
  try {
    bound = listening(server, () => server.listen({ path, backlog: BACKLOG }), path);
  } finally {
    process.umask(umask);
  }
  await bound;
  try {
    if (gid !== undefined) chownSync(path, -1, gid);
    chmodSync(path, mode);
  } catch (cause) {
    server.close();
    throw new KeydError(
      'configuration_invalid',
      `${path} can not be given its group and mode: ${text(cause)}`,
      { cause },
    );
  }
}

async function listening(server: Server, listen: () => void, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error): void => {
      server.off('listening', onListening);
      reject(
        new KeydError('configuration_invalid', `can not listen at ${where}: ${cause.message}`, { cause }),
      );
    };
    const onListening = (): void => {
      server.off('error', onError);
      resolve();
    };
    server.once('error', onError).once('listening', onListening);
    listen();
  });
}

/** Removes a socket file that nobody listens at any more; anything else at the path is left alone. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new KeydError('configuration_invalid', `${path} exists and is not a socket; move it away`);
  }
  if (await isServed(path)) {
    throw new KeydError('conflict', `another process listens at ${path}; stop it or configure another path`);
  }
  unlinkSync(path);
}

async function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const answer = (served: boolean): void => {
      probe.destroy();
      resolve(served);
    };
    // A full backlog or a silent peer is somebody, not nobody.
    probe.setTimeout(PROBE_TIMEOUT_MS, () => {
      answer(true);
    });
    probe.once('connect', () => {
      answer(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      answer(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function text(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
