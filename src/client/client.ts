/** The daemon as a program sees it. */
import type { AgentView } from '../wire/socket/agents.ts';
import type { Algorithm } from '../wire/algorithms.ts';
import { AgentHandle } from './agent-handle.ts';
import { collectApproval, type ApprovalOptions } from './approvals.ts';
import { SocketTransport, type CallOptions } from './socket-transport.ts';

/** Where the packaged daemon listens (DECISIONS 7). */
export const DEFAULT_SOCKET = '/run/agentkeyd/agentkeyd.sock';

export interface ClientOptions {
  /** Default: `AGENTKEYD_SOCKET`, else the packaged path. */
  readonly socketPath?: string;
  /** Default 30 s. */
  readonly timeoutMs?: number;
}

export interface CreateAgentOptions extends CallOptions {
  readonly name: string;
  readonly backend: 'tpm' | 'pkcs11';
  readonly algorithm?: Algorithm;
}

/** Opens nothing until the first call. */
export function connect(options: ClientOptions = {}): AgentKeyClient {
  const socketPath = options.socketPath ?? process.env['AGENTKEYD_SOCKET'] ?? DEFAULT_SOCKET;
  return new AgentKeyClient(new SocketTransport({ socketPath, timeoutMs: options.timeoutMs ?? 30_000 }));
}

/** Every call rejects with KeydError; branch on its `code`. */
export class AgentKeyClient {
  readonly #transport: SocketTransport;

  constructor(transport: SocketTransport) {
    this.#transport = transport;
  }

  /** Where the daemon is asked. */
  get socketPath(): string {
    return this.#transport.socketPath;
  }

  /** Backends, issuer link, attestation, queue. */
  async status(options: CallOptions = {}): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#transport.call('GET', '/v1/status', undefined, options)) as Readonly<
      Record<string, unknown>
    >;
  }

  /** Makes an agent with a new key in hardware. */
  async createAgent({ signal, idempotencyKey, ...request }: CreateAgentOptions): Promise<AgentHandle> {
    const view = await this.#transport.call('POST', '/v1/agents', request, { signal, idempotencyKey });
    return new AgentHandle(this.#transport, view as AgentView);
  }

  async listAgents(options: CallOptions = {}): Promise<readonly AgentHandle[]> {
    const { agents } = (await this.#transport.call('GET', '/v1/agents', undefined, options)) as {
      readonly agents: readonly AgentView[];
    };
    return agents.map((view) => new AgentHandle(this.#transport, view));
  }

  /** @param agent id or name */
  async agent(agent: string, options: CallOptions = {}): Promise<AgentHandle> {
    const view = await this.#transport.call(
      'GET',
      `/v1/agents/${encodeURIComponent(agent)}`,
      undefined,
      options,
    );
    return new AgentHandle(this.#transport, view as AgentView);
  }

  /** Evidence of this host for a third party's nonce (base64url, 16 to 64 octets). */
  async quote(
    request: { readonly audience: string; readonly nonce: string; readonly pcrs?: readonly number[] },
    options: CallOptions = {},
  ): Promise<Readonly<Record<string, unknown>>> {
    const answer = await this.#transport.call('POST', '/v1/attestation/quote', request, options);
    return answer as Readonly<Record<string, unknown>>;
  }

  /**
   * The answer of a call that waited for a person: the headers, proof or the like, once, by whoever asked.
   * @throws KeydError `approval_pending`, `approval_denied`, `approval_void`, `approval_not_found`, `request_needed`
   */
  async collectApproval(id: string, options: ApprovalOptions = {}): Promise<unknown> {
    return collectApproval(this.#transport, id, options);
  }

  /** Any other call of the API, for tools; `path` starts with `/v1/`. */
  async call(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<unknown> {
    return this.#transport.call(method, path, body, options);
  }

  close(): void {
    this.#transport.close();
  }
}
