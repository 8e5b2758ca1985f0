/** The process and its service manager: the only import of `process_control.node`. */
import { addonLoader } from '../base/load-addon.ts';
import { KeydError } from '../wire/problem.ts';

interface NativeModule {
  readonly notify: (address: string, state: string) => void;
  readonly harden: () => void;
  readonly claimListeningSocket: (fd: number) => boolean;
  readonly trimMemory: () => void;
}

const native = addonLoader('process_control', 'internal') as () => NativeModule;

/** SD_LISTEN_FDS_START, sd_listen_fds(3). */
const FIRST_LISTEN_FD = 3;
const MAX_LISTEN_FDS = 1024;

/**
 * Tells the service manager `state`, such as `READY=1` or `WATCHDOG=1` (newlines separate several), in
 * one datagram to `NOTIFY_SOCKET`: sd_notify(3). False where there is no service manager.
 * @throws KeydError `internal` if it can not be told
 */
export function notify(state: string): boolean {
  const address = process.env['NOTIFY_SOCKET'];
  if (address === undefined || address === '') return false;
  try {
    native().notify(address, state);
  } catch (cause) {
    throw new KeydError('internal', 'The service manager can not be told of the state', { cause });
  }
  return true;
}

/** No core file and no reading of this process's memory by others of its user: prctl(2), setrlimit(2). */
export function hardenProcess(): void {
  native().harden();
}

/**
 * Gives the kernel back what was freed: starting takes memory once that nothing needs again, most of it for the
 * compiler of WebAssembly, and malloc(3) would keep it. malloc_trim(3).
 */
export function trimMemory(): void {
  native().trimMemory();
}

/** A listening socket handed down by the service manager; give `fd` to `server.listen({ fd })`. */
export interface ListenFd {
  readonly fd: number;
  /** `FileDescriptorName=` of the socket unit; `unknown` if it has none. */
  readonly name: string;
}

/**
 * Takes the sockets of `LISTEN_FDS` if they are meant for this process, keeps them from its children
 * and removes the variables: sd_listen_fds_with_names(3). Empty without socket activation.
 * @throws KeydError `configuration_invalid` if what was handed down can not be used
 */
export function listenFds(): readonly ListenFd[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = process.env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) {
    Reflect.deleteProperty(process.env, name);
  }
  if (pid === undefined || count === undefined || pid !== String(process.pid)) return [];
  const total = decimal(count);
  if (total === undefined || total > MAX_LISTEN_FDS) throw invalid(`LISTEN_FDS is ${JSON.stringify(count)}`);
  const given = names === undefined || names === '' ? [] : names.split(':');
  if (given.length > 0 && given.length !== total) throw invalid('LISTEN_FDNAMES does not match LISTEN_FDS');
  return Array.from({ length: total }, (_, index) => {
    const fd = FIRST_LISTEN_FD + index;
    claim(fd);
    return { fd, name: given[index] ?? 'unknown' };
  });
}

function claim(fd: number): void {
  let isListening: boolean;
  try {
    isListening = native().claimListeningSocket(fd);
  } catch (cause) {
    throw cause instanceof KeydError ? cause : invalid(`descriptor ${fd} is no socket`, cause);
  }
  if (!isListening) throw invalid(`descriptor ${fd} does not listen`);
}

/**
 * Milliseconds within which the service manager expects `WATCHDOG=1` (send it at half of that);
 * undefined where no watchdog is set for this process: sd_watchdog_enabled(3).
 */
export function watchdogIntervalMs(): number | undefined {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = process.env;
  if (usec === undefined || (pid !== undefined && pid !== String(process.pid))) return undefined;
  const microseconds = decimal(usec);
  if (microseconds === undefined || microseconds === 0)
    throw invalid(`WATCHDOG_USEC is ${JSON.stringify(usec)}`);
  return microseconds / 1000;
}

function decimal(text: string): number | undefined {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}

function invalid(what: string, cause?: unknown): KeydError {
  return new KeydError('configuration_invalid', `The service manager's environment is not usable: ${what}`, {
    cause,
  });
}
