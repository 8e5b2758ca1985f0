/** Wires the issuer together: the one place that knows every part. */
import { readFileSync } from 'node:fs';
import type { Logger } from '../base/logger.ts';
import { KeydError } from '../wire/problem.ts';
import { createIssuerApp } from './app.ts';
import { loadAppraisalPolicy } from './appraisal-policy-loader.ts';
import { ChallengeService } from './challenge-service.ts';
import type { IssuerConfig } from './config.ts';
import { CertificateAuthority } from './credentials/certificate-authority.ts';
import { HostRegistry } from './host-registry.ts';
import type { IssuerContext } from './issuer-context.ts';
import { readSecret } from './secret-source.ts';
import { startServer, type TlsMaterial } from './server.ts';
import { openIssuerBackend, SigningKeys } from './signing-keys.ts';
import { StatusLists } from './status-lists.ts';
import { openIssuerStore } from './store/issuer-store.ts';

export interface RunningIssuer {
  /** Port that is listened on. */
  readonly port: number;
  /**
   * Reads hosts, endorsement roots and TLS material again; all or nothing.
   * @throws KeydError `configuration_invalid`, and what was loaded before stays
   */
  reload(): void;
  /** Finishes running requests and closes token and state. */
  stop(): Promise<void>;
}

const TOKEN_TIMEOUT_MS = 60_000;

/** @throws KeydError `configuration_invalid`, `state_newer`, `token_*`, `key_not_found` */
export async function startIssuer(
  config: IssuerConfig,
  logger: Logger,
  nowMs: () => number = Date.now,
): Promise<RunningIssuer> {
  // What can be wrong without hardware is found before hardware is asked.
  let policy = loadAppraisalPolicy(config);
  const hosts = new HostRegistry(config.hostsFile, config.lifetimes.credentialSeconds);
  const tls = readTls(config);
  const store = openIssuerStore(config.stateDirectory);
  const closing: (() => Promise<void> | void)[] = [
    () => {
      store.close();
    },
  ];
  const close = async (): Promise<void> => {
    for (const step of closing.toReversed()) await step();
  };
  try {
    const backend = await openIssuerBackend(config, logger, TOKEN_TIMEOUT_MS);
    closing.push(() => backend.close());
    const keys = await SigningKeys.open(backend, store.keys);
    const context: IssuerContext = {
      config,
      keys,
      authority: await CertificateAuthority.open(keys, store.keys, config.trustDomain),
      store,
      hosts,
      challenges: new ChallengeService(keys, store.sessions, config.issuer, config.channelBinding),
      statusLists: new StatusLists({
        keys,
        store: store.statuses,
        hosts,
        url: config.url,
        issuer: config.issuer,
        nowSeconds: () => Math.floor(nowMs() / 1000),
      }),
      policy: () => policy,
      nowMs,
      logger,
    };
    const server = await startServer(createIssuerApp(context), tls, config, logger);
    closing.push(() => server.stop());
    warnOfIdleGrants(context);
    return {
      port: server.port,
      reload: () => {
        const newPolicy = loadAppraisalPolicy(config);
        const newTls = readTls(config);
        const takeHosts = hosts.prepareReload();
        server.setTls(newTls);
        takeHosts();
        policy = newPolicy;
        warnOfIdleGrants(context);
      },
      stop: close,
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** What a record grants and nobody approved is not granted: an operator should not have to find that out. */
function warnOfIdleGrants({ config, hosts, logger }: IssuerContext): void {
  const idle = hosts.list().filter(({ grant }) => grant !== undefined);
  if (config.developmentGrants || idle.length === 0) return;
  logger.warn(
    { hosts: idle.slice(0, 16).map(({ label }) => label), count: idle.length },
    'grants of the hosts file are not issued: no person approved them, and development_grants is off',
  );
}

function readTls({ tls }: IssuerConfig): TlsMaterial {
  let cert: string;
  try {
    cert = readFileSync(tls.certificateFile, 'utf8');
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${tls.certificateFile} can not be read`, { cause });
  }
  return { cert, key: readSecret(tls.key, 'tls.key') };
}
