/** One host of the fleet: the daemon's own code for enrolment and issuance, over a TPM of OpenSSL keys. */
import { createHash, randomUUID } from 'node:crypto';
import type { HardwareKey } from '../../src/backend/backend.ts';
import { enrolHost } from '../../src/issuance/enrolment.ts';
import type { HostRecord } from '../../src/issuance/issuance-store.ts';
import { IssuerChannels } from '../../src/issuance/issuer-channels.ts';
import { obtainCredentials, type IssuableAgent } from '../../src/issuance/issuing.ts';
import { buildAgentCsr } from '../../src/signing/certification-request.ts';
import { CREDENTIAL_KINDS } from '../../src/wire/issuance/issue.ts';
import { jwkThumbprint } from '../../src/wire/jwk.ts';
import { OpensslTpm } from './openssl-tpm.ts';
import { PosingLogs } from './posing-logs.ts';
import type { TestManufacturer } from './test-manufacturer.ts';

const TIMEOUT_MS = 60_000;
const TTL_SECONDS = 3600;

export interface FleetIssuer {
  readonly url: string;
  /** PEM. */
  readonly ca: string;
}

interface Enrolled {
  readonly record: HostRecord;
  readonly hostKey: HardwareKey;
  readonly channels: IssuerChannels;
}

export class FleetHost {
  readonly label: string;
  readonly #tpm: OpensslTpm;
  readonly #logs: PosingLogs;
  readonly #agents: IssuableAgent[] = [];
  #enrolled: Enrolled | undefined;
  #next = 0;

  constructor(label: string, manufacturer: TestManufacturer) {
    this.label = label;
    this.#tpm = new OpensslTpm(manufacturer);
    this.#logs = new PosingLogs(this.#tpm);
  }

  /** SHA-256 of the EK's TPMT_PUBLIC, hex. */
  get ekSha256(): string {
    return createHash('sha256').update(this.#tpm.ekPublic).digest('hex');
  }

  async makeAgents(count: number): Promise<void> {
    for (let number = 0; number < count; number += 1) {
      const keyId = randomUUID();
      const { publicJwk } = await this.#tpm.generate({ keyId, purpose: 'agent', algorithm: 'ES256' });
      const kid = jwkThumbprint(publicJwk);
      this.#agents.push({ id: randomUUID(), name: `agent-${number}`, backend: 'tpm', keyId, kid, publicJwk });
    }
  }

  /** @throws KeydError `issuer_*` */
  async enrol({ url, ca }: FleetIssuer): Promise<void> {
    const channels = new IssuerChannels({ url, ca, timeoutMs: TIMEOUT_MS });
    const record = await channels.use((channel) =>
      enrolHost({
        backend: this.#tpm,
        attester: this.#tpm.attester,
        channel,
        channelBinding: 'exporter',
        known: undefined,
        challengeKeyThumbprint: undefined,
        enrolmentToken: undefined,
        logs: this.#logs,
        nowMs: Date.now(),
      }),
    );
    const hostKey = await this.#tpm.find(record.hostKeyId);
    if (hostKey === undefined) throw new Error('the TPM has lost the host key');
    this.#enrolled = { record, hostKey, channels };
  }

  /** Credentials for the agent whose turn it is, checked as the daemon checks them. @throws KeydError `issuer_*` */
  async issue(): Promise<void> {
    const agent = this.#agents[this.#next];
    this.#next = (this.#next + 1) % this.#agents.length;
    if (this.#enrolled === undefined || agent === undefined) throw new Error('it is not enrolled');
    const { record, hostKey, channels } = this.#enrolled;
    await channels.use((channel) =>
      obtainCredentials({
        host: record,
        hostKey,
        hostBackend: this.#tpm,
        attester: this.#tpm.attester,
        agentBackend: this.#tpm,
        agent,
        kinds: CREDENTIAL_KINDS,
        ttlSeconds: TTL_SECONDS,
        chain: undefined,
        buildCsr: buildAgentCsr,
        logs: this.#logs,
        channel,
        channelBinding: 'exporter',
        nowMs: Date.now(),
      }),
    );
  }

  close(): void {
    this.#enrolled?.channels.close();
  }
}
