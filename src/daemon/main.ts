#!/usr/bin/env -S MALLOC_ARENA_MAX=2 node --max-semi-space-size=16
/** `agentkeyd`: starts, tells the service manager, obeys signals, stops. */
import { isDeepStrictEqual } from 'node:util';
import { createLogger, type Logger } from '../base/logger.ts';
import type { ListenAddress } from '../socket/listener.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import { composeDaemon, type Daemon } from './compose.ts';
import { loadConfig, type DaemonConfig } from './config.ts';
import { EXIT, USAGE, parseFlags, type Flags } from './flags.ts';
import { hardenProcess, listenFds, notify, trimMemory, watchdogIntervalMs } from './process-control.ts';
import { packageVersion } from './version.ts';

/** Names of `FileDescriptorName=` in the socket units. */
const HANDED_OVER = new Set(['shared', 'admin']);

/** After the drain, for backends to close. */
const LET_GO_MS = 8_000;

async function main(args: readonly string[]): Promise<number> {
  const flags = parseFlags(args);
  if (flags.help) {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  if (flags.version) {
    process.stdout.write(`agentkeyd ${packageVersion()}\n`);
    return EXIT.ok;
  }
  const config = loadConfig(flags, process.env);
  if (flags.checkConfig) {
    process.stdout.write(`${config.file} is good\n`);
    return EXIT.ok;
  }
  return run(flags, config);
}

async function run(flags: Flags, config: DaemonConfig): Promise<number> {
  hardenProcess();
  const logger = createLogger({ name: 'agentkeyd', level: config.logLevel });
  process.on('uncaughtExceptionMonitor', (thrown) => {
    logger.error({ error: thrown }, 'a fault nobody handled; ending');
  });
  const handedOver = takeListenFds();
  const daemon = await composeDaemon(config, packageVersion(), logger);
  try {
    await daemon.start(handedOver);
  } catch (thrown) {
    await daemon.stop();
    throw thrown;
  }
  const beat = startWatchdog();
  process.on('SIGHUP', () => {
    reload(flags, config, daemon, logger);
  });
  const stopped = stopSignal(logger);
  trimMemory();
  notify('READY=1\nSTATUS=Serving');
  logger.info({ version: packageVersion(), file: config.file, pid: process.pid }, 'ready');
  await stopped;
  tellStopping(logger);
  // Hardware that hangs keeps nobody from stopping: state is durable at every moment.
  setTimeout(() => {
    logger.error({}, 'the hardware does not let go; ending without it');
    process.exit(EXIT.failure);
  }, config.drainMs + LET_GO_MS).unref();
  await daemon.stop();
  clearInterval(beat);
  logger.info({}, 'stopped');
  return EXIT.ok;
}

/** @throws KeydError `configuration_invalid` for a socket that no unit of ours names */
function takeListenFds(): ReadonlyMap<string, ListenAddress> {
  const handedOver = new Map<string, ListenAddress>();
  for (const { fd, name } of listenFds()) {
    if (!HANDED_OVER.has(name) || handedOver.has(name)) {
      throw new KeydError(
        'configuration_invalid',
        `the service manager hands over a socket named "${name}"; FileDescriptorName= must be shared or admin, once each`,
      );
    }
    handedOver.set(name, { fd });
  }
  return handedOver;
}

/** A service manager that can not be told any more keeps nobody from an orderly end. */
function tellStopping(logger: Logger): void {
  try {
    notify('STOPPING=1\nSTATUS=Answering what is under way');
  } catch (thrown) {
    logger.warn({ error: asKeydError(thrown) }, 'stopping without telling the service manager');
  }
}

function startWatchdog(): NodeJS.Timeout | undefined {
  const intervalMs = watchdogIntervalMs();
  if (intervalMs === undefined) return undefined;
  return setInterval(() => notify('WATCHDOG=1'), intervalMs / 2);
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
async function stopSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        logger.info({ signal }, asked ? 'asked again to stop: ending at once' : 'asked to stop');
        if (asked) process.exit(EXIT.failure);
        asked = true;
        resolve();
      });
    }
  });
}

/** Policy only: whatever else the file says now counts from the next start. A fault in any file changes nothing. */
function reload(flags: Flags, started: DaemonConfig, daemon: Daemon, logger: Logger): void {
  notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  try {
    const { policy, policySet } = loadConfig(flags, process.env);
    daemon.reload(policy);
    logger.info({}, 'policy read anew');
    if (!isDeepStrictEqual(policySet, started.policySet)) {
      logger.warn(
        {},
        'the places of policies or the decision point changed: that counts from the next start',
      );
    }
  } catch (thrown) {
    logger.error(
      { error: asKeydError(thrown) },
      'the configuration has faults; the former policy stays in force',
    );
  }
  notify('READY=1');
}

function exitCode(error: KeydError): number {
  switch (error.code) {
    case 'malformed_request':
      return EXIT.usage;
    case 'configuration_invalid':
      return EXIT.configuration;
    case 'conflict':
      return EXIT.conflict;
    case 'state_newer':
      return EXIT.stateNewer;
    default:
      return EXIT.failure;
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const error = asKeydError(thrown);
  for (const line of error.faults ?? [error.message]) process.stderr.write(`agentkeyd: ${line}\n`);
  if (error.code === 'internal' && error.cause instanceof Error) {
    process.stderr.write(`${error.cause.stack ?? ''}\n`);
  }
  process.exitCode = exitCode(error);
}
