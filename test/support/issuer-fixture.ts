/** A real issuer in this process: HTTPS on a free port, keys in a SoftHSM token of its own, a clock that tests turn. */
import { execFile } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  provisionIssuer,
  writeHosts,
  type SandboxHost,
  type SandboxIssuer,
} from '../../scripts/sandbox/issuer.ts';
import { createLogger } from '../../src/base/logger.ts';
import { initialiseKeys, type KeyLine } from '../../src/issuer/commands/keys.ts';
import { startIssuer, type RunningIssuer } from '../../src/issuer/compose.ts';
import { readIssuerConfig, type IssuerConfig } from '../../src/issuer/config.ts';
import { issuerMetadata, METADATA_PATH, type IssuerMetadata } from '../../src/wire/issuance/metadata.ts';
import { parse } from '../../src/wire/check.ts';
import { IssuerConnection } from './issuer-connection.ts';
import { makeSofthsm, USER_PIN } from './softhsm.ts';

/** What signatures cover as `@target-uri`: not the address that is connected to, and nobody minds. */
export const ISSUER_URL = 'https://issuer.example.test';

export interface IssuerFixtureOptions {
  /** PEM of the test root and of the CA below it; any certificate where no TPM enrols. */
  readonly ca?: { readonly caFile: string; readonly issuerFile: string };
  readonly change?: (config: IssuerConfig) => IssuerConfig;
}

export class IssuerFixture {
  readonly sandbox: SandboxIssuer;
  readonly config: IssuerConfig;
  readonly keyLines: readonly KeyLine[];
  /** PEM of the TLS CA. */
  readonly tlsCa: string;
  /** Lines of the log. */
  readonly log: string[] = [];
  /** Added to the issuer's clock, milliseconds. */
  clockOffsetMs = 0;
  readonly #removeToken: () => Promise<void>;
  #issuer: RunningIssuer | undefined;
  readonly #connections: IssuerConnection[] = [];

  private constructor(
    sandbox: SandboxIssuer,
    config: IssuerConfig,
    keyLines: readonly KeyLine[],
    tlsCa: string,
    removeToken: () => Promise<void>,
  ) {
    this.sandbox = sandbox;
    this.config = config;
    this.keyLines = keyLines;
    this.tlsCa = tlsCa;
    this.#removeToken = removeToken;
  }

  static async start(options: IssuerFixtureOptions = {}): Promise<IssuerFixture> {
    const token = await makeSofthsm();
    const rootsFile = join(token.dir, 'roots.pem');
    const intermediatesFile = join(token.dir, 'intermediates.pem');
    if (options.ca === undefined) {
      await makeRoot(token.dir, rootsFile);
      await copyFile(rootsFile, intermediatesFile);
    } else {
      await writeFile(rootsFile, await readFile(options.ca.caFile));
      await writeFile(intermediatesFile, await readFile(options.ca.issuerFile));
    }
    const sandbox = await provisionIssuer({
      dir: join(token.dir, 'issuer'),
      // Of no account: the fixture listens on a free port and signs for another URL.
      port: 8443,
      token,
      userPin: USER_PIN,
      testRootsFile: rootsFile,
      intermediatesFile,
    });
    const read = readIssuerConfig(sandbox.configFile);
    const based = { ...read, url: ISSUER_URL, listen: { address: '127.0.0.1', port: 0 } };
    const config = options.change?.(based) ?? based;
    const fixture = new IssuerFixture(
      sandbox,
      config,
      await initialiseKeys(config, createLogger({ name: 'init', level: 'warn' })),
      await readFile(sandbox.caFile, 'utf8'),
      () => token.remove(),
    );
    try {
      await fixture.restart();
      return fixture;
    } catch (thrown) {
      await token.remove();
      throw thrown;
    }
  }

  /** Stops the issuer, if it runs, and starts it on the same state. */
  async restart(): Promise<void> {
    await this.#issuer?.stop();
    const write = (line: string): void => {
      this.log.push(line);
    };
    this.#issuer = await startIssuer(
      this.config,
      createLogger({ name: 'issuer', level: 'debug', destination: { write } }),
      () => Date.now() + this.clockOffsetMs,
    );
  }

  get port(): number {
    if (this.#issuer === undefined) throw new Error('the issuer does not run');
    return this.#issuer.port;
  }

  /** Writes hosts.toml and has it read. */
  async approve(...hosts: readonly SandboxHost[]): Promise<void> {
    await writeHosts(this.sandbox.hostsFile, hosts);
    this.reload();
  }

  reload(): void {
    this.#issuer?.reload();
  }

  /** A connection of its own; closed with the fixture. */
  connect(): IssuerConnection {
    const connection = new IssuerConnection(this.port, this.tlsCa);
    this.#connections.push(connection);
    return connection;
  }

  async metadata(): Promise<IssuerMetadata> {
    const answer = await this.connect().get(METADATA_PATH);
    return parse(issuerMetadata, answer.json);
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    await this.#issuer?.stop();
    await this.#removeToken();
  }
}

async function makeRoot(dir: string, file: string): Promise<void> {
  const key = join(dir, 'root.key');
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await promisify(execFile)('openssl', [...request, '-keyout', key, '-out', file, '-subj', '/CN=test root']);
}
