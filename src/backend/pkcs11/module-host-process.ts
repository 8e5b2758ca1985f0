/**
 * How a module host is started (S17): no environment but what the module needs, no arguments but Node's, no
 * descriptor but the socketpair, and where configured a user of its own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { DAEMON_DESCRIPTOR } from './module-host-protocol.ts';

export interface ModuleHostProcessOptions {
  /** The module host's entry point. */
  readonly entry: URL;
  /** SOFTHSM2_CONF, the whole environment of the process. */
  readonly softhsm2Conf?: string;
  /** The user that the process runs as; the daemon must be root to change it. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
}

/** JavaScript in the module host starts no process or worker and writes no file; the module itself is native code. */
const NODE_FLAGS = [
  '--permission',
  '--allow-addons',
  '--allow-fs-read=*',
  '--disable-warning=ExperimentalWarning',
];

/** Starts the process. Some failures to start throw, others are the process's `error` event. */
export function spawnModuleHost(options: ModuleHostProcessOptions): {
  readonly process: ChildProcess;
  readonly socket: Duplex;
} {
  const child = spawn(process.execPath, [...NODE_FLAGS, fileURLToPath(options.entry)], {
    // Index 3 is DAEMON_DESCRIPTOR: libuv makes it a Unix socketpair.
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: options.softhsm2Conf === undefined ? {} : { SOFTHSM2_CONF: options.softhsm2Conf },
    cwd: '/',
    // With a uid, libuv drops the supplementary groups too.
    ...options.runAs,
  });
  return { process: child, socket: child.stdio[DAEMON_DESCRIPTOR] as Duplex };
}
