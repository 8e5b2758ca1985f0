/** The daemon's issuance room against a real issuer, with keys in a real (software) TPM. */
import { createHash, randomUUID } from 'node:crypto';
import type { HardwareKey } from '../../../src/backend/backend.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { IssuanceService, type IssuanceConfig } from '../../../src/issuance/issuance-service.ts';
import type { CredentialRecord, HostRecord, IssuanceStore } from '../../../src/issuance/issuance-store.ts';
import type { IssuableAgent } from '../../../src/issuance/issuing.ts';
import { SANDBOX_GRANT } from '../../../scripts/sandbox/issuer.ts';
import { buildAgentCsr } from '../../../src/signing/certification-request.ts';
import {
  delegationSigningInput,
  makeLinkClaims,
  parseDelegationToken,
} from '../../../src/delegation/claims.ts';
import { joinJws } from '../../../src/wire/jws.ts';
import { CREDENTIAL_KINDS } from '../../../src/wire/issuance/issue.ts';
import { jwkThumbprint } from '../../../src/wire/jwk.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { freePort } from '../../../scripts/sandbox/free-port.ts';

export class MemoryIssuanceStore implements IssuanceStore {
  record: HostRecord | undefined;
  readonly issued = new Map<string, CredentialRecord>();

  host(): HostRecord | undefined {
    return structuredClone(this.record);
  }
  putHost(record: HostRecord): void {
    this.record = structuredClone(record);
  }
  credentials(agentId: string): CredentialRecord | undefined {
    return this.issued.get(agentId);
  }
  putCredentials(record: CredentialRecord): void {
    this.issued.set(record.agentId, record);
  }
  deleteCredentials(agentId: string): void {
    this.issued.delete(agentId);
  }
}

export class Scenario {
  readonly swtpm: TestSwtpm;
  readonly backend: TpmBackend;
  readonly issuer: IssuerFixture;
  readonly url: string;
  readonly agents: IssuableAgent[] = [];
  /** Names of agents whose keys may sign raw octets. */
  readonly rawSigners = new Set<string>();
  /** Tokens that delegate to a sub-agent, by its id. */
  readonly chains = new Map<string, readonly string[]>();
  /** Added to the daemon's clock, milliseconds. */
  clockOffsetMs = 0;
  readonly #services: IssuanceService[] = [];

  private constructor(swtpm: TestSwtpm, backend: TpmBackend, issuer: IssuerFixture, url: string) {
    this.swtpm = swtpm;
    this.backend = backend;
    this.issuer = issuer;
    this.url = url;
  }

  static async start(): Promise<Scenario> {
    const swtpm = await startSwtpm({ withEkCertificates: true, unique: true });
    const port = await freePort();
    const url = `https://localhost:${port}`;
    const issuer = await IssuerFixture.start({
      ca: swtpm,
      change: (config) => ({ ...config, url, listen: { address: 'localhost', port } }),
    });
    const backend = await new TpmHost(swtpm.tcti).open();
    const [ek] = await backend.attester.endorsementKeys();
    await issuer.approve({
      label: 'node-1',
      ekSha256: createHash('sha256')
        .update(ek?.publicArea ?? new Uint8Array())
        .digest('hex'),
      namePatterns: ['pay-*'],
      principal: 'ops@example.test',
      grant: SANDBOX_GRANT,
    });
    return new Scenario(swtpm, backend, issuer, url);
  }

  service(store: IssuanceStore, change: Partial<IssuanceConfig> = {}): IssuanceService {
    const service = new IssuanceService({
      config: {
        endpoint: { url: this.url, ca: this.issuer.tlsCa, timeoutMs: 10_000 },
        channelBinding: 'exporter',
        challengeKeyThumbprint: undefined,
        enrolmentToken: undefined,
        ttlSeconds: 3600,
        ...change,
      },
      store,
      tpm: this.backend,
      backend: () => this.backend,
      agents: () => this.agents,
      buildCsr: buildAgentCsr,
      credentialKinds: ({ name }) => (this.rawSigners.has(name) ? ['x509'] : CREDENTIAL_KINDS),
      chain: ({ id }) => this.chains.get(id),
      logger: silentLogger,
      now: () => Date.now() + this.clockOffsetMs,
    });
    this.#services.push(service);
    return service;
  }

  async agent(name: string, id: string = randomUUID()): Promise<IssuableAgent> {
    const key: HardwareKey = await this.backend.generate({
      keyId: randomUUID(),
      purpose: 'agent',
      algorithm: 'ES256',
    });
    const { keyId, publicJwk } = key;
    return { id, name, backend: 'tpm', keyId, kid: jwkThumbprint(publicJwk), publicJwk };
  }

  /** The chain of a sub-agent of `parent`, whose key in the TPM signs the link. */
  async delegate(
    chain: readonly string[],
    parent: IssuableAgent,
    child: IssuableAgent,
  ): Promise<readonly string[]> {
    const above = parseDelegationToken(chain.at(-1) ?? '', chain.length === 1);
    const issuedAtSeconds = Math.floor(Date.now() / 1000);
    const claims = makeLinkClaims(above, {
      principal: above.claims.sub,
      clientId: `${above.claims.client_id}/${child.name.slice(parent.name.length + 1)}`,
      audiences: above.claims.aud,
      scopes: above.scopes,
      constraints: above.constraints,
      issuedAtSeconds,
      expiresAtSeconds: Math.min(issuedAtSeconds + 900, above.claims.exp),
      jti: randomUUID(),
      publicJwk: child.publicJwk,
      depth: above.claims.del_depth + 1,
      maxDepth: above.claims.del_max_depth,
    });
    const input = delegationSigningInput(parent.publicJwk.alg, parent.kid, claims);
    const signature = await this.backend.sign(parent.keyId, { kind: 'message', octets: Buffer.from(input) });
    return [...chain, joinJws(input, signature)];
  }

  async stop(): Promise<void> {
    for (const service of this.#services) await service.stop();
    await this.backend.close();
    await this.issuer.stop();
    await this.swtpm.stop();
  }
}
