/**
 * A socket per agent (DECISIONS 8): `<directory>/<name>/agentkeyd.sock`. A container mounts the agent's
 * directory, which stays over restarts of the daemon and goes when the agent is retired.
 */
import { mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../base/logger.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import type { ListenAddress } from './listener.ts';

/** What an agent's socket needs of a server. */
export interface AgentSocketServer {
  listen(address: ListenAddress): Promise<void>;
  drain(): Promise<void>;
  closeAllConnections(): void;
}

export interface AgentSocketsOptions {
  readonly directory: string;
  readonly mode: number;
  readonly gid: number | undefined;
  /** Whether an agent of this name gets a socket. */
  readonly wants: (agentName: string) => boolean;
  readonly makeServer: (agentName: string) => AgentSocketServer;
  readonly logger: Logger;
}

const SOCKET_FILE = 'agentkeyd.sock';
const DIRECTORY_MODE = 0o755;

export class AgentSockets {
  readonly #options: AgentSocketsOptions;
  readonly #servers = new Map<string, AgentSocketServer>();

  constructor(options: AgentSocketsOptions) {
    this.#options = options;
  }

  /** Makes the sockets of these agents and removes what former ones left. A socket that fails is logged. */
  async openAll(agentNames: readonly string[]): Promise<void> {
    const { directory, wants } = this.#options;
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    const wanted = new Set(agentNames.filter(wants));
    for (const name of readdirSync(directory)) if (!wanted.has(name)) this.#removeFolder(name);
    for (const name of wanted) await this.open(name);
  }

  /** Makes one agent's socket, if it is to have one. */
  async open(agentName: string): Promise<void> {
    const { directory, mode, gid, wants, makeServer, logger } = this.#options;
    if (!wants(agentName) || this.#servers.has(agentName)) return;
    const server = makeServer(agentName);
    this.#servers.set(agentName, server);
    try {
      const folder = this.#folder(agentName);
      mkdirSync(folder, { recursive: true, mode: DIRECTORY_MODE });
      await server.listen({ path: join(folder, SOCKET_FILE), mode, ...(gid === undefined ? {} : { gid }) });
    } catch (thrown) {
      this.#servers.delete(agentName);
      logger.error({ agentName, directory, error: asKeydError(thrown) }, 'an agent socket could not be made');
    }
  }

  /** The agent is no more: its connections are cut and its folder goes. */
  async remove(agentName: string): Promise<void> {
    const server = this.#servers.get(agentName);
    if (server === undefined) return;
    this.#servers.delete(agentName);
    server.closeAllConnections();
    await server.drain();
    this.#removeFolder(agentName);
  }

  /** Stops accepting; resolves when what is under way has been answered. The folders stay. */
  async drain(): Promise<void> {
    await Promise.all([...this.#servers.values()].map((server) => server.drain()));
  }

  closeAllConnections(): void {
    for (const server of this.#servers.values()) server.closeAllConnections();
  }

  #folder(agentName: string): string {
    // Agent names have no slash and do not begin with a dot (DECISIONS 6); this holds should that change.
    if (agentName.includes('/') || agentName.startsWith('.')) {
      throw new KeydError('invalid_name', 'the name can not be a folder’s');
    }
    return join(this.#options.directory, agentName);
  }

  /** Only ever our own socket file and an empty folder. */
  #removeFolder(agentName: string): void {
    try {
      const folder = this.#folder(agentName);
      if (readdirSync(folder).includes(SOCKET_FILE)) unlinkSync(join(folder, SOCKET_FILE));
      rmdirSync(folder);
    } catch (thrown) {
      this.#options.logger.warn(
        { agentName, error: asKeydError(thrown) },
        'an agent socket’s folder is left',
      );
    }
  }
}
