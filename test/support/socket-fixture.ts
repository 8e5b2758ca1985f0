/** The socket room alone, on a real socket with real kernel credentials, in front of services of a test's own. */
import { chmod } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { createLogger, type Logger } from '../../src/base/logger.ts';
import type { Ingress } from '../../src/caller/caller.ts';
import { CallerIdentifier } from '../../src/caller/identify.ts';
import { readPeer } from '../../src/caller/peer-credentials.ts';
import { Admission } from '../../src/socket/admission.ts';
import { Idempotency } from '../../src/socket/idempotency.ts';
import { DEFAULT_LIMITS, type SocketLimits } from '../../src/socket/limits.ts';
import { SocketMetrics } from '../../src/socket/metrics.ts';
import type { AnyRoute } from '../../src/socket/route.ts';
import { SocketServer, type SocketServerOptions } from '../../src/socket/socket-server.ts';
import { openIdempotencyStore } from '../../src/daemon/state/idempotency-rows.ts';
import { STATE_MIGRATIONS } from '../../src/daemon/state/migrations.ts';
import { makeTempDir } from './temp-dir.ts';

export interface SocketFixture {
  readonly path: string;
  readonly server: SocketServer;
  /** Log lines so far. */
  readonly log: string[];
  readonly metrics: SocketMetrics;
  stop(): Promise<void>;
}

export interface SocketFixtureOptions {
  readonly ingress?: Ingress;
  readonly limits?: Partial<SocketLimits>;
  readonly identifier?: CallerIdentifier;
  readonly admit?: SocketServerOptions['admit'];
  readonly isDraining?: () => boolean;
  readonly maxRowsPerCaller?: number;
  readonly now?: () => number;
}

/** One for all, so that the test's own executable is hashed once. */
const identifier = new CallerIdentifier({ readPeer, admittedUids: [] });

export async function startSocket(
  routes: readonly AnyRoute[],
  options: SocketFixtureOptions = {},
): Promise<SocketFixture> {
  const temp = await makeTempDir();
  const path = join(temp.path, 's');
  // Tests let other users connect.
  await chmod(temp.path, 0o711);
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const log: string[] = [];
  const logger: Logger = createLogger({
    name: 'test',
    level: 'debug',
    destination: { write: (line) => log.push(line) },
  });
  const metrics = new SocketMetrics();
  const database = new DatabaseSync(':memory:');
  for (const script of STATE_MIGRATIONS) database.exec(script);
  const server = new SocketServer({
    ingress: options.ingress ?? { kind: 'shared' },
    routes,
    limits,
    admission: new Admission(limits.share),
    idempotency: new Idempotency({
      store: openIdempotencyStore(database),
      maxRowsPerCaller: options.maxRowsPerCaller ?? 100,
      now: options.now ?? Date.now,
    }),
    metrics,
    logger,
    admit: options.admit ?? (() => undefined),
    isDraining: options.isDraining ?? (() => false),
    identifier: options.identifier ?? identifier,
  });
  await server.listen({ path, mode: 0o666 });
  return {
    path,
    server,
    log,
    metrics,
    async stop() {
      server.closeAllConnections();
      await server.drain();
      database.close();
      await temp.remove();
    },
  };
}
