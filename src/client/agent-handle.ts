/** One agent: typed signing, credentials, and a fetch that signs. The key stays where it is. */
import { encodeBase64url, decodeBase64url } from '../wire/base64url.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import type { AgentView, CredentialsView, RotateAgentRequest } from '../wire/socket/agents.ts';
import type { RevokeRequest } from '../wire/socket/delegations.ts';
import type { BudgetView } from '../wire/socket/budget.ts';
import type { CsrRequest, DpopRequest } from '../wire/socket/signing.ts';
import type { Intent } from '../wire/socket/intent.ts';
import { callWithApproval, type ApprovalOptions, type SignOptions } from './approvals.ts';
import { CredentialedSigner } from './credentialed-signer.ts';
import { askForSubAgents, type DelegateOptions } from './delegating.ts';
import { HeldConnection } from './held-connection.ts';
import type { HttpMessageInput } from './http-message-input.ts';
import { ERASED_FIELD, parseRetirement, type Retirement } from './retirement.ts';
import { signingFetch, type SigningFetchOptions } from './signing-fetch.ts';
import { settlementBody, type SettlementAnswer, type SignedMessage } from './settlement.ts';
import type { CallOptions, SocketTransport } from './socket-transport.ts';

export class AgentHandle {
  readonly #transport: SocketTransport;
  readonly #view: AgentView;
  readonly #credentialed = new CredentialedSigner(this);

  constructor(transport: SocketTransport, view: AgentView) {
    this.#transport = transport;
    this.#view = view;
  }

  get id(): string {
    return this.#view.id;
  }

  get name(): string {
    return this.#view.name;
  }

  /** RFC 7638 thumbprint of the key as of the call that returned this handle. */
  get kid(): string {
    return this.#view.kid;
  }

  get publicJwk(): PublicJwk {
    return this.#view.publicJwk;
  }

  /** Everything the daemon said about this agent. */
  get view(): AgentView {
    return this.#view;
  }

  /** RFC 9421 headers to attach, lower-case names. */
  async signHttpMessage(
    input: HttpMessageInput,
    options: ApprovalOptions = {},
  ): Promise<Readonly<Record<string, string>>> {
    return (await this.signMessage(input, options)).headers;
  }

  /** As `signHttpMessage`; for what costs something with the reservation that `settle` takes. */
  async signMessage(input: HttpMessageInput, options: ApprovalOptions = {}): Promise<SignedMessage> {
    const { body, ...rest } = input;
    const request = { ...rest, ...(body === undefined ? {} : { body: encodeBase64url(body) }) };
    return (await this.#sign('http-message', request, options)) as SignedMessage;
  }

  /** What the grant or delegation of this agent has, by unit. */
  async budgets(options: CallOptions = {}): Promise<readonly BudgetView[]> {
    return this.#budgets('GET', '', undefined, options);
  }

  /**
   * Has the daemon take back what a request did not cost, by the answer of its server, signed by the key that is
   * pinned for it; once. Whatever it doubts stays spent.
   */
  async settle(
    reservation: string,
    answer: SettlementAnswer,
    options: CallOptions = {},
  ): Promise<readonly BudgetView[]> {
    return this.#budgets('POST', '/settle', settlementBody(reservation, answer), options);
  }

  /** A DPoP proof (RFC 9449), for the `DPoP` header. */
  async signDpop(request: DpopRequest, options: ApprovalOptions = {}): Promise<string> {
    return ((await this.#sign('dpop', request, options)) as { readonly proof: string }).proof;
  }

  /** A JWT of type `typ`; the daemon sets iss, sub, iat, exp and jti. */
  async signJwt(
    typ: string,
    claims: Readonly<Record<string, unknown>>,
    { intent, ...options }: SignOptions = {},
  ): Promise<string> {
    const request = { typ, claims, ...stated(intent) };
    return ((await this.#sign('jwt', request, options)) as { readonly jwt: string }).jwt;
  }

  /** A PKCS#10 request over the agent's key, PEM. */
  async signCsr(request: CsrRequest = {}, options: ApprovalOptions = {}): Promise<string> {
    return ((await this.#sign('csr', request, options)) as { readonly csr: string }).csr;
  }

  /** A signature over raw octets; refused unless policy names it for this agent. */
  async signRaw(message: Uint8Array, { intent, ...options }: SignOptions = {}): Promise<Uint8Array> {
    const request = { message: encodeBase64url(message), ...stated(intent) };
    const { signature } = (await this.#sign('raw', request, options)) as { readonly signature: string };
    return decodeBase64url(signature, 'signature');
  }

  /** The credentials the daemon holds for the present key. */
  async credentials(options: CallOptions = {}): Promise<CredentialsView> {
    return (await this.#transport.call(
      'GET',
      `${this.#path}/credentials`,
      undefined,
      options,
    )) as CredentialsView;
  }

  /** Has the daemon fetch new credentials from the issuer now. */
  async renewCredentials(options: CallOptions = {}): Promise<CredentialsView> {
    return (await this.#transport.call('POST', `${this.#path}/credentials`, {}, options)) as CredentialsView;
  }

  /**
   * A new key under the same name and id; the old one is destroyed. Use the handle it returns: `kid` and
   * `publicJwk` of this one stay what they were.
   * @param reason `compromise` where the old key may have been misused; default `routine`
   */
  async rotate({
    reason,
    ...options
  }: CallOptions & { readonly reason?: 'routine' | 'compromise' } = {}): Promise<AgentHandle> {
    const request: RotateAgentRequest = { ...(reason === undefined ? {} : { reason }) };
    const view = await this.#transport.call('POST', `${this.#path}/rotate`, request, options);
    return new AgentHandle(this.#transport, view as AgentView);
  }

  /** Destroys the key; the name is never used again. The answer says what was erased (S15). */
  async retire(options: CallOptions = {}): Promise<Retirement> {
    const { headers } = await this.#transport.exchange('DELETE', this.#path, undefined, options);
    const field = headers[ERASED_FIELD];
    return parseRetirement(typeof field === 'string' ? field : undefined);
  }

  /**
   * A sub-agent with a key of its own and no more authority than this agent has: narrower or equal in every
   * member, else `delegation_refused` with the first rule that is broken. What is left out of `constraints` is
   * this agent's as it stands; a unit without a budget is a budget of zero.
   */
  async delegate(request: DelegateOptions, options: SignOptions = {}): Promise<AgentHandle> {
    const [view] = await askForSubAgents(this.#transport, this.#path, request, options);
    return new AgentHandle(this.#transport, view);
  }

  /** As `delegate`, for up to 50 sub-agents: all of them, or none. */
  async delegateAll(
    requests: readonly DelegateOptions[],
    options: SignOptions = {},
  ): Promise<readonly AgentHandle[]> {
    const views = await askForSubAgents(this.#transport, this.#path, requests, options);
    return views.map((view) => new AgentHandle(this.#transport, view));
  }

  /**
   * A sub-agent that lives as long as a connection that is held for it: until `close`, until the client is
   * closed, or until this process ends, however it does. Its key is never written anywhere.
   */
  async delegateEphemeral(request: DelegateOptions, options: SignOptions = {}): Promise<EphemeralAgent> {
    const connection = new HeldConnection(this.#transport.apart());
    try {
      const ephemeral = { ...request, ephemeral: true };
      const [view] = await askForSubAgents(connection.transport, this.#path, ephemeral, options);
      connection.hold(`/v1/agents/${view.id}`);
      return new EphemeralAgent(this.#transport, view, connection);
    } catch (thrown) {
      connection.close();
      throw thrown;
    }
  }

  /** The sub-agents directly below this agent. */
  async subAgents(options: CallOptions = {}): Promise<readonly AgentHandle[]> {
    const path = `${this.#path}/delegations`;
    const { delegations } = (await this.#transport.call('GET', path, undefined, options)) as {
      readonly delegations: readonly AgentView[];
    };
    return delegations.map((view) => new AgentHandle(this.#transport, view));
  }

  /** The tokens by which this agent acts: the grant of its principal first, its own link last. */
  async chain(options: CallOptions = {}): Promise<readonly string[]> {
    const { chain } = (await this.#transport.call('GET', `${this.#path}/chain`, undefined, options)) as {
      readonly chain: readonly string[];
    };
    return chain;
  }

  /**
   * Ends this sub-agent and all below it, at once; others learn it from the issuer's status list.
   * @throws KeydError `conflict` for an agent that nobody delegated to: retire it
   */
  async revoke({
    reason,
    ...options
  }: CallOptions & { readonly reason?: RevokeRequest['reason'] } = {}): Promise<Retirement> {
    const request: RevokeRequest = { ...(reason === undefined ? {} : { reason }) };
    return (await this.#transport.call('POST', `${this.#path}/revoke`, request, options)) as Retirement;
  }

  /**
   * `fetch` whose requests this agent signs: same arguments and answer as the global one.
   * Bodies are read whole, since their digest is signed: at most 1 MiB, streams included. In the profile
   * `rfc9421` the agent's WIT is attached, so that a server can know the key; `attach` replaces that.
   */
  fetch(options: SigningFetchOptions = {}): typeof fetch {
    const { profile = 'rfc9421', attach } = options;
    const signer = this.#credentialed;
    const signMessage =
      profile !== 'rfc9421'
        ? signer.signWithDaemonsToken.bind(signer)
        : attach === undefined
          ? signer.signWithWit.bind(signer)
          : this.signMessage.bind(this);
    return signingFetch({ signMessage, settle: this.settle.bind(this) }, options);
  }

  get #path(): string {
    return `/v1/agents/${this.#view.id}`;
  }

  async #budgets(
    method: string,
    path: string,
    body: object | undefined,
    options: CallOptions,
  ): Promise<readonly BudgetView[]> {
    const answer = await this.#transport.call(method, `${this.#path}/budget${path}`, body, options);
    return (answer as { readonly budgets: readonly BudgetView[] }).budgets;
  }

  async #sign(type: string, request: unknown, options: ApprovalOptions): Promise<unknown> {
    return callWithApproval(this.#transport, 'POST', `${this.#path}/sign/${type}`, request, options);
  }
}

/** A sub-agent that ends with the connection that is held for it. `await using` closes it at the end of a block. */
export class EphemeralAgent extends AgentHandle {
  readonly #connection: HeldConnection;

  constructor(transport: SocketTransport, view: AgentView, connection: HeldConnection) {
    super(transport, view);
    this.#connection = connection;
  }

  /** Ends it; when this resolves its key is gone. Once it has ended, however it did, this does nothing more. */
  async close(): Promise<void> {
    try {
      await this.revoke();
    } catch (thrown) {
      if (!(thrown instanceof KeydError && thrown.code === 'agent_not_found')) throw thrown;
    } finally {
      this.#connection.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function stated(intent: Intent | undefined): { readonly intent?: Intent } {
  return intent === undefined ? {} : { intent };
}
