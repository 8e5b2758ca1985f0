/** Signs HTTP messages with the credential that belongs to the very key that signs. */
import { WIT_HEADER } from '../wire/credential-claims.ts';
import { KeydError, type ErrorCode } from '../wire/problem.ts';
import type { CredentialsView } from '../wire/socket/agents.ts';
import type { HttpMessageInput } from './http-message-input.ts';
import type { ApprovalOptions } from './approvals.ts';
import type { SignedMessage } from './settlement.ts';
import type { CallOptions } from './socket-transport.ts';

/** What this needs of an agent. */
export interface CredentialHolder {
  signMessage(input: HttpMessageInput, options?: ApprovalOptions): Promise<SignedMessage>;
  credentials(options?: CallOptions): Promise<CredentialsView>;
  renewCredentials(options?: CallOptions): Promise<CredentialsView>;
}

/**
 * Remembers the WIT between calls. The daemon knows better: where it says that the WIT is another key's
 * (somebody rotated), or that there is no credential yet, this asks anew and signs again, once.
 */
export class CredentialedSigner {
  readonly #agent: CredentialHolder;
  #credentials: CredentialsView | undefined;

  constructor(agent: CredentialHolder) {
    this.#agent = agent;
  }

  /** With the WIT as a header, which the signature covers; a WIT that the caller brings is left alone. */
  async signWithWit(input: HttpMessageInput, options: ApprovalOptions = {}): Promise<SignedMessage> {
    if (input.headers?.some(([name]) => name.toLowerCase() === WIT_HEADER) === true)
      return this.#agent.signMessage(input, options);
    const remembered = this.#remembered();
    if (remembered !== undefined) {
      const signed = await unless('token_not_bound', () => this.#sign(input, remembered, options));
      if (signed !== undefined) return signed;
    }
    this.#credentials = await this.#current(options);
    return this.#sign(input, this.#credentials, options);
  }

  /** Without a header of ours: the daemon itself adds the token that `aauth` and `wimse` signatures carry. */
  async signWithDaemonsToken(input: HttpMessageInput, options: ApprovalOptions = {}): Promise<SignedMessage> {
    const signed = await unless('credential_unavailable', () => this.#agent.signMessage(input, options));
    if (signed !== undefined) return signed;
    await this.#agent.renewCredentials(options);
    return this.#agent.signMessage(input, options);
  }

  /** Right after creation and rotation the daemon has none yet; a renewal is answered when the issuer has. */
  async #current(options: CallOptions): Promise<CredentialsView> {
    return (
      (await unless('credential_unavailable', () => this.#agent.credentials(options))) ??
      this.#agent.renewCredentials(options)
    );
  }

  #remembered(): CredentialsView | undefined {
    const renewAt = this.#credentials?.renewAt ?? null;
    return renewAt === null || Date.parse(renewAt) <= Date.now() ? undefined : this.#credentials;
  }

  async #sign(
    input: HttpMessageInput,
    { wit }: CredentialsView,
    options: ApprovalOptions,
  ): Promise<SignedMessage> {
    if (wit === null) return this.#agent.signMessage(input, options);
    const headers = [...(input.headers ?? []), [WIT_HEADER, wit] as const];
    const signed = await this.#agent.signMessage({ ...input, headers }, options);
    return { ...signed, headers: { [WIT_HEADER]: wit, ...signed.headers } };
  }
}

/** What `act` gives; undefined where it fails with exactly this code. */
async function unless<T>(code: ErrorCode, act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (thrown) {
    if (thrown instanceof KeydError && thrown.code === code) return undefined;
    throw thrown;
  }
}
