/** What the daemon says of itself and its host, and Evidence for third parties. Implements `HostApi`. */
import { createHash } from 'node:crypto';
import type { Attester } from '../backend/attester.ts';
import type { Logger } from '../base/logger.ts';
import type { Caller } from '../caller/caller.ts';
import type { IssuanceService } from '../issuance/issuance-service.ts';
import { quoteForThirdParty } from '../issuance/third-party-quote.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { AgentStore } from '../signing/agent.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import type { DaemonStatus, HostApi, HostStatus, LedgerStatus } from '../socket/services.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import type { ThirdPartyQuote } from '../wire/socket/agents.ts';
import { ATTESTED_PCRS } from '../wire/tpm/pcr-selection.ts';
import type { EvidenceLogs } from './evidence-logs.ts';

export interface HostServiceOptions extends ActionGate {
  readonly version: string;
  readonly agents: Pick<AgentStore, 'list'>;
  readonly lanes: readonly HardwareLane[];
  /** Undefined on a host without a TPM. */
  readonly attester: Attester | undefined;
  readonly adoptTpm: (() => Promise<void>) | undefined;
  readonly issuance: IssuanceService | undefined;
  readonly issuerUrl: string | undefined;
  readonly logs: Pick<EvidenceLogs, 'ledger' | 'counter' | 'commandAudit' | 'evidence'>;
  readonly isDraining: () => boolean;
  readonly logger: Logger;
}

type QuoteRequest = Parameters<HostApi['quote']>[1];

export class HostService implements HostApi {
  readonly #options: HostServiceOptions;
  #ekSha256: string | undefined;

  constructor(options: HostServiceOptions) {
    this.#options = options;
  }

  /** @throws KeydError `policy_denied`, `backend_unavailable`, `malformed_request`, `tpm_*` */
  async quote(caller: Caller, request: QuoteRequest): Promise<ThirdPartyQuote> {
    const pcrs = request.pcrs ?? ATTESTED_PCRS.flatMap((bank) => bank.pcrs);
    const action = { action: 'host-quote', audience: request.audience, pcrs } as const;
    return requireAction(this.#options, caller, action, async () => {
      const { attester } = this.#options;
      if (attester === undefined)
        throw new KeydError('backend_unavailable', 'this host has no TPM configured');
      return quoteForThirdParty(attester, request);
    });
  }

  /** @throws KeydError `policy_denied`, `not_enrolled` (no issuer configured), `issuer_*`, `tpm_*` */
  async enrol(caller: Caller): Promise<HostStatus> {
    return requireAction(this.#options, caller, { action: 'host-enrol' }, async () => {
      const { issuance } = this.#options;
      if (issuance === undefined) throw new KeydError('not_enrolled', 'no issuer is configured on this host');
      await issuance.enrol();
      issuance.wake();
      return this.#host();
    });
  }

  /** @throws KeydError `policy_denied`, `backend_unavailable`, `tpm_*` */
  async adoptTpm(caller: Caller): Promise<HostStatus> {
    return requireAction(this.#options, caller, { action: 'host-adopt-tpm' }, async () => {
      const { adoptTpm, issuance } = this.#options;
      if (adoptTpm === undefined)
        throw new KeydError('backend_unavailable', 'this host has no TPM configured');
      await adoptTpm();
      this.#ekSha256 = undefined;
      issuance?.wake();
      return this.#host();
    });
  }

  async status(): Promise<DaemonStatus> {
    const { version, agents, lanes, isDraining } = this.#options;
    const backends = await Promise.all(lanes.map(({ backend }) => backend.describe()));
    const host = await this.#host();
    const ledger = await this.#ledger();
    const commandAudit = this.#commandAudit();
    const isWell =
      backends.every(({ state }) => state === 'ready') &&
      host.lastFault === null &&
      ledger.fault === null &&
      commandAudit?.signedOutside == null;
    return {
      version,
      state: isDraining() ? 'draining' : isWell ? 'ready' : 'degraded',
      backends: backends.map((backend) => ({ ...backend })),
      host,
      queue: {
        waiting: sum(lanes.map(({ queue }) => queue.state.waiting)),
        running: sum(lanes.map(({ queue }) => queue.state.running)),
      },
      rollback: this.#rollback(ledger),
      ledger,
      commandAudit,
      agents: agents.list().length,
    };
  }

  /** A ledger that is at fault was compared with nothing; what the issuer has not seen, it can not tell. */
  #rollback({ counter, fault }: LedgerStatus): DaemonStatus['rollback'] {
    if (fault !== null) return 'unprotected';
    if (counter !== null) return 'tpm';
    return this.#options.logs.evidence.isWitnessed ? 'witnessed' : 'unprotected';
  }

  async #ledger(): Promise<LedgerStatus> {
    const { counter, ledger } = this.#options.logs;
    const { epoch, fault } = ledger.state();
    return {
      epoch: String(epoch),
      fault: fault === undefined ? null : `${fault.code}: ${fault.message}`,
      counter: (await counter?.facts(Date.now())) ?? null,
    };
  }

  #commandAudit(): DaemonStatus['commandAudit'] {
    const facts = this.#options.logs.commandAudit?.facts;
    if (facts === undefined) return null;
    const { at, effect, foreignIndex, index, reason } = facts;
    return {
      effect,
      reason: reason ?? null,
      entry: index,
      at: new Date(at).toISOString(),
      signedOutside: foreignIndex ?? null,
    };
  }

  async #host(): Promise<HostStatus> {
    const { issuance, issuerUrl } = this.#options;
    const record = issuance?.host();
    const fault = issuance?.attestationFault();
    const standing = record?.standing;
    return {
      state: hostState(issuance, fault),
      issuer: record?.issuer.issuer ?? issuerUrl ?? null,
      ekSha256: (await this.#endorsementKeyHash()) ?? null,
      akId: standing?.akId ?? null,
      label: standing?.host.label ?? null,
      assurance: standing?.assurance ?? null,
      developmentPolicy: standing?.developmentPolicy ?? null,
      standingExpiresAt:
        standing === undefined ? null : new Date(standing.expiresAtSeconds * 1000).toISOString(),
      lastFault: fault === undefined ? null : `${fault.code}: ${fault.message}`,
    };
  }

  /** Read once: an EK is the same until the TPM is another. Unknown while the TPM does not answer. */
  async #endorsementKeyHash(): Promise<string | undefined> {
    const { attester, lanes } = this.#options;
    const tpm = lanes.find(({ backend }) => backend.kind === 'tpm');
    if (this.#ekSha256 !== undefined || attester === undefined || tpm === undefined) return this.#ekSha256;
    if ((await tpm.backend.describe()).state !== 'ready') return undefined;
    try {
      const [preferred] = await attester.endorsementKeys();
      if (preferred !== undefined) {
        this.#ekSha256 = createHash('sha256').update(preferred.publicArea).digest('hex');
      }
    } catch (thrown) {
      this.#options.logger.debug({ error: asKeydError(thrown) }, 'the endorsement keys can not be read');
    }
    return this.#ekSha256;
  }
}

function hostState(issuance: IssuanceService | undefined, fault: KeydError | undefined): HostStatus['state'] {
  if (issuance === undefined) return 'not-configured';
  if (issuance.host() === undefined) return 'not-enrolled';
  return fault === undefined ? 'enrolled' : 'attestation-failing';
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
