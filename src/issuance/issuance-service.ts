/**
 * The daemon's link to its issuer: enrols the host, keeps its standing, and keeps every agent's
 * credentials fresh. What fails is tried again with jittered backoff; meanwhile valid credentials are
 * served until they expire, and never longer.
 */
import type { Attester } from '../backend/attester.ts';
import type { BackendKind, KeyBackend } from '../backend/backend.ts';
import type { Logger } from '../base/logger.ts';
import type { ChannelBinding } from '../wire/issuance/challenge.ts';
import type { Standing } from '../wire/issuance/enrolment.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import { enrolHost } from './enrolment.ts';
import type { HostLogs } from './host-logs.ts';
import type { CredentialRecord, HostRecord, IssuanceStore } from './issuance-store.ts';
import { IssuerChannel, type IssuerEndpoint } from './issuer-channel.ts';
import { IssuerChannels } from './issuer-channels.ts';
import { CREDENTIAL_KINDS, type CredentialKind, type IssuedCredentials } from '../wire/issuance/issue.ts';
import { mayHoldGrant, obtainCredentials, type CsrBuilder, type IssuableAgent } from './issuing.ts';
import { reattestHost } from './reattestation.ts';
import { IssuerStatusIndices } from './status-indices.ts';
import { RenewalLoop } from './renewal-loop.ts';

export interface IssuanceConfig {
  readonly endpoint: IssuerEndpoint;
  readonly channelBinding: ChannelBinding;
  readonly challengeKeyThumbprint: string | undefined;
  readonly enrolmentToken: string | undefined;
  /** Asked of the issuer, which may give less. */
  readonly ttlSeconds: number;
}

export interface IssuanceParts {
  readonly config: IssuanceConfig;
  readonly store: IssuanceStore;
  /** Holds host and audit keys, and is what gets attested. */
  readonly tpm: KeyBackend & { readonly attester: Attester };
  readonly backend: (kind: BackendKind) => KeyBackend;
  readonly agents: () => readonly IssuableAgent[];
  readonly buildCsr: CsrBuilder;
  /** What this agent may hold: one whose key signs raw octets holds no token (S1). */
  readonly credentialKinds: (agent: IssuableAgent) => readonly CredentialKind[];
  /** The tokens that delegate to a sub-agent's present key, DT₀ first; undefined for a root agent. */
  readonly chain?: (agent: IssuableAgent) => readonly string[] | undefined;
  /** Ledger and audit log; a host whose logs nobody keeps has none to show. */
  readonly logs?: HostLogs;
  readonly logger: Logger;
  readonly now?: () => number;
}

/** Who this host is to its issuer, for identifiers and name patterns. */
export interface HostIdentity {
  readonly label: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
  readonly namePatterns: readonly string[];
}

export class IssuanceService {
  readonly #parts: IssuanceParts;
  readonly #now: () => number;
  readonly #loop: RenewalLoop;
  readonly #channels: IssuerChannels;
  /** One exchange with the issuer at a time: the TPM is serial, and evidence is bound to its connection. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(parts: IssuanceParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
    this.#channels = new IssuerChannels(parts.config.endpoint);
    this.#loop = new RenewalLoop({
      now: this.#now,
      logger: parts.logger,
      agents: parts.agents,
      host: () => parts.store.host(),
      credentials: (agent) => this.#stored(agent),
      attest: async () => {
        await this.attest();
      },
      obtain: async (agent) => {
        await this.obtain(agent);
      },
    });
  }

  /** Starts keeping things fresh; attests first, since this may be a new boot. */
  start(): void {
    this.#loop.start();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#loop.stop();
    await this.#tail;
    this.#channels.close();
  }

  /** A key was made or rotated: its credentials are fetched soon. */
  wake(): void {
    this.#loop.wake();
  }

  /** The issuer, AAuth and SPIFFE names of this host; undefined until it is enrolled. */
  identity(): HostIdentity | undefined {
    return this.#parts.store.host()?.standing.host;
  }

  host(): HostRecord | undefined {
    return this.#parts.store.host();
  }

  /** Fault of the last attestation, or undefined when it succeeded. */
  attestationFault(): KeydError | undefined {
    return this.#loop.fault('host');
  }

  renewalFault(agentId: string): KeydError | undefined {
    return this.#loop.fault(agentId);
  }

  /** Credentials of this agent's present key that have not expired. */
  credentials(agent: IssuableAgent): CredentialRecord | undefined {
    const record = this.#stored(agent);
    return record !== undefined && record.issued.expiresAtSeconds * 1000 > this.#now() ? record : undefined;
  }

  /** The credentials of a retired agent are of no more use. */
  forget(agentId: string): void {
    this.#parts.store.deleteCredentials(agentId);
  }

  /**
   * Enrols, or re-attests where the host is enrolled. An issuer that no longer knows the host gets a new
   * enrolment: the AK is the same, so its approval still holds.
   * @throws KeydError `issuer_*`, `tpm_*`
   */
  async attest(): Promise<Standing> {
    return this.#exchange('host', async (channel) => {
      const known = this.#parts.store.host();
      const hostKey = known === undefined ? undefined : await this.#parts.tpm.find(known.hostKeyId);
      if (known === undefined || hostKey === undefined || !(await this.#hasSameCounter(known)))
        return this.#enrol(channel);
      try {
        const standing = await reattestHost({ ...this.#common(channel), host: known, hostKey });
        this.#parts.store.putHost({ ...known, standing });
        return standing;
      } catch (thrown) {
        if (asKeydError(thrown).code !== 'issuer_refused') throw thrown;
        this.#parts.logger.warn(
          { fault: asKeydError(thrown).message },
          're-attestation refused, enrolling again',
        );
        return this.#enrol(new IssuerChannel(this.#parts.config.endpoint));
      }
    });
  }

  /** Enrols anew whatever is known. @throws KeydError `issuer_*`, `tpm_*` */
  async enrol(): Promise<Standing> {
    return this.#exchange('host', async (channel) => this.#enrol(channel));
  }

  /** Fetches credentials for this agent's present key now. @throws KeydError `not_enrolled`, `issuer_*`, `tpm_*` */
  async obtain(agent: IssuableAgent): Promise<CredentialRecord> {
    return this.#exchange(agent.id, async (channel) => {
      const host = this.#parts.store.host();
      const hostKey = host === undefined ? undefined : await this.#parts.tpm.find(host.hostKeyId);
      if (host === undefined || hostKey === undefined) {
        throw new KeydError('not_enrolled', 'this host is not enrolled yet; see `agentkey host status`');
      }
      const chain = this.#parts.chain?.(agent);
      if (chain === undefined && agent.name.includes('+')) {
        throw new KeydError(
          'credential_unavailable',
          `there is no chain yet that delegates to ${agent.name}`,
        );
      }
      const issued = await obtainCredentials({
        ...this.#common(channel),
        host,
        hostKey,
        hostBackend: this.#parts.tpm,
        agent,
        agentBackend: this.#parts.backend(agent.backend),
        kinds: this.#parts.credentialKinds(agent),
        chain,
        ttlSeconds: this.#parts.config.ttlSeconds,
        buildCsr: this.#parts.buildCsr,
      });
      const record = { agentId: agent.id, kid: agent.kid, issued };
      this.#parts.store.putCredentials(record);
      return record;
    });
  }

  /** Indices on the issuer's status lists, for links that agents of this host sign. */
  statusIndices(): IssuerStatusIndices {
    const { config, store, tpm } = this.#parts;
    return new IssuerStatusIndices({
      endpoint: config.endpoint,
      tpm,
      hostKeyId: () => store.host()?.hostKeyId,
      now: this.#now,
    });
  }

  /** Another counter than was enrolled, one where there was none, or none where there was one: enrolled anew. */
  async #hasSameCounter({ counter }: HostRecord): Promise<boolean> {
    const nvPublic = await this.#parts.logs?.nvPublic();
    return counter === (nvPublic === undefined ? undefined : encodeBase64url(nvPublic));
  }

  async #enrol(channel: IssuerChannel): Promise<Standing> {
    try {
      const record = await enrolHost({
        ...this.#common(channel),
        known: this.#parts.store.host(),
        challengeKeyThumbprint: this.#parts.config.challengeKeyThumbprint,
        enrolmentToken: this.#parts.config.enrolmentToken,
      });
      this.#parts.store.putHost(record);
      return record.standing;
    } finally {
      channel.close();
    }
  }

  #common(channel: IssuerChannel) {
    return {
      backend: this.#parts.tpm,
      attester: this.#parts.tpm.attester,
      channel,
      channelBinding: this.#parts.config.channelBinding,
      logs: this.#parts.logs,
      nowMs: this.#now(),
    };
  }

  #stored(agent: IssuableAgent): CredentialRecord | undefined {
    const record = this.#parts.store.credentials(agent.id);
    if (record?.kid !== agent.kid) return undefined;
    // A token from before policy let the key sign raw octets is served no more.
    const allowed = this.#parts.credentialKinds(agent);
    const { grant } = record.issued;
    const isAllowed =
      heldKinds(record.issued).every((kind) => allowed.includes(kind)) &&
      (grant === undefined || mayHoldGrant(agent, allowed));
    return isAllowed ? record : undefined;
  }

  async #exchange<T>(target: string, work: (channel: IssuerChannel) => Promise<T>): Promise<T> {
    const run = this.#tail.then(async () => {
      try {
        const result = await this.#channels.use(work);
        this.#loop.succeeded(target);
        return result;
      } catch (thrown) {
        this.#loop.failed(target, asKeydError(thrown));
        throw thrown;
      }
    });
    this.#tail = run.catch(() => undefined);
    return run;
  }
}

function heldKinds({ x509, wit, agentToken }: IssuedCredentials): readonly CredentialKind[] {
  const held = { x509, wit, aauth: agentToken };
  return CREDENTIAL_KINDS.filter((kind) => held[kind] !== undefined);
}
