/** The rooms policy and signing put together as the daemon does it, over any backend. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { BackendDescription, HardwareKey, KeyBackend, SignInput } from '../../src/backend/backend.ts';
import { FairQueue } from '../../src/base/fair-queue.ts';
import { silentLogger } from '../../src/base/logger.ts';
import type { Caller } from '../../src/caller/caller.ts';
import { SqliteAgentStore } from '../../src/daemon/state/agent-store.ts';
import { STATE_MIGRATIONS } from '../../src/daemon/state/migrations.ts';
import { MemoryUsageHistory } from '../../src/ledger/usage-history.ts';
import { ApprovalDesk, PendingApproval } from '../../src/policy/approval-desk.ts';
import { NO_AUTHORITY } from '../../src/policy/authority.ts';
import { Authorizer, type AuthorizerOptions } from '../../src/policy/authorize.ts';
import { loadPolicySet } from '../../src/policy/cedar/load-policy-set.ts';
import type { ApprovedNames } from '../../src/policy/judge.ts';
import type { DecisionEntry, OutcomeEntry, Recorder } from '../../src/policy/recorder.ts';
import { policyRules, policySection, type PolicyRules, type PolicySection } from '../../src/policy/rules.ts';
import type { Agent } from '../../src/signing/agent.ts';
import { AgentService, type AgentHooks } from '../../src/signing/agent-service.ts';
import { openApprovalStore } from '../../src/daemon/state/approval-store.ts';
import { draftContext, type AgentCredentials, type HostIdentity } from '../../src/signing/draft.ts';
import { Hardware } from '../../src/signing/hardware.ts';
import { KeyMaker } from '../../src/signing/key-maker.ts';
import { OwnerPlaces } from '../../src/signing/owner-places.ts';
import { SettleableSignatures } from '../../src/signing/settleable.ts';
import { Signer } from '../../src/signing/signer.ts';
import { SigningService } from '../../src/signing/signing-service.ts';
import { ALGORITHMS, type Algorithm } from '../../src/wire/algorithms.ts';
import { parse } from '../../src/wire/check.ts';
import { KeydError } from '../../src/wire/problem.ts';
import { signOctets, testKey, type TestKey } from './signed-request.ts';

export const OWNER_UID = 1000;
export const NOW_MS = 1_800_000_000_500;
export const NOW_S = 1_800_000_000;

export function caller(more: Partial<Caller> = {}): Caller {
  return {
    ingress: { kind: 'shared' },
    uid: OWNER_UID,
    gid: OWNER_UID,
    groups: [],
    pid: 4242,
    ...more,
  };
}

export function rules(section: PolicySection = {}): PolicyRules {
  return policyRules(parse(policySection, section, 'configuration_invalid'));
}

/** Keys in this process: for what comes before and after the hardware, never for hardware itself. */
export class SoftwareBackend implements KeyBackend {
  readonly kind: 'tpm' | 'pkcs11';
  readonly keys = new Map<string, TestKey>();
  readonly signed: Uint8Array[] = [];
  /** What every key is said to be for. */
  purpose: HardwareKey['purpose'] = 'agent';
  /** Awaited inside each operation. */
  before: () => Promise<void> = () => Promise.resolve();
  description: Partial<BackendDescription> = {};

  constructor(kind: 'tpm' | 'pkcs11' = 'pkcs11') {
    this.kind = kind;
  }

  describe(): Promise<BackendDescription> {
    return Promise.resolve({
      kind: this.kind,
      state: 'ready',
      algorithms: ALGORITHMS,
      assurance: 'software',
      assuranceReason: 'keys of a test',
      hardware: {},
      ...this.description,
    });
  }

  async generate({
    keyId,
    purpose,
    algorithm,
  }: {
    keyId: string;
    purpose: 'agent' | 'host' | 'audit' | 'issuer';
    algorithm: Algorithm;
  }): Promise<HardwareKey> {
    await this.before();
    const key = testKey(algorithm);
    this.keys.set(keyId, key);
    return { keyId, purpose, algorithm, publicJwk: key.jwk };
  }

  async sign(keyId: string, input: SignInput): Promise<Uint8Array> {
    await this.before();
    const key = this.keys.get(keyId);
    if (key === undefined) throw new KeydError('key_not_found', 'no such key');
    this.signed.push(input.octets);
    return signOctets(key, input.octets);
  }

  destroy(keyId: string): Promise<{ erased: 'hardware'; statement: string }> {
    this.keys.delete(keyId);
    return Promise.resolve({ erased: 'hardware', statement: 'gone' });
  }

  find(keyId: string): Promise<HardwareKey | undefined> {
    const key = this.keys.get(keyId);
    if (key === undefined) return Promise.resolve(undefined);
    const { jwk: publicJwk } = key;
    return Promise.resolve({ keyId, purpose: this.purpose, algorithm: publicJwk.alg, publicJwk });
  }

  list = (): Promise<readonly HardwareKey[]> => Promise.resolve([]);
  readProtection = (): Promise<{ exportable: boolean; attributes: Record<string, boolean> }> =>
    Promise.resolve({ exportable: true, attributes: {} });
  close = (): Promise<void> => Promise.resolve();
}

/** Keeps every entry. */
export class MemoryRecorder implements Recorder {
  readonly decisions: DecisionEntry[] = [];
  readonly outcomes: OutcomeEntry[] = [];
  /** Awaited before an entry counts as durable. */
  before: () => Promise<void> = () => Promise.resolve();

  async decision(entry: DecisionEntry) {
    await this.before();
    this.decisions.push(entry);
    return { outcome: (outcome: OutcomeEntry) => void this.outcomes.push(outcome) };
  }
}

export const IDENTITY: HostIdentity = {
  label: 'host1',
  trustDomain: 'agents.example',
  aauthDomain: 'agents.example',
};

const OWNER_POLICIES = readFileSync(join(import.meta.dirname, '..', '..', 'policies', 'owner.cedar'), 'utf8');
/** What allow_raw of the host's rules lets through. */
const RAW_POLICY = `@id("owner-signs-raw")
permit (principal, action == Action::"raw", resource)
when { resource.ownerUid == principal.uid };`;

/** The shipped set, raw signing for owners, and what a test adds. */
export function engine(...more: readonly string[]) {
  return loadPolicySet([
    { name: 'owner.cedar', text: OWNER_POLICIES },
    { name: 'raw.cedar', text: RAW_POLICY },
    ...more.map((text, index) => ({ name: `test-${index}.cedar`, text })),
  ]);
}

const ENGINE = engine();

/** An authorizer of an agent that nobody granted anything, unless a test says otherwise. */
export function authorizerWith(options: Partial<AuthorizerOptions> = {}): Authorizer {
  return new Authorizer({
    rules: rules(),
    engine: ENGINE,
    authority: NO_AUTHORITY,
    counters: undefined,
    usage: new MemoryUsageHistory(),
    attestation: () => ({ status: 'none', level: undefined, ageSeconds: undefined }),
    approvedNames: () => ({ state: 'local' }),
    now: () => NOW_MS,
    ...options,
  });
}

/** Signing where nobody has to be asked: what is left pending is a fault of the test. */
function unattended(signing: SigningService) {
  const done = async <T>(result: Promise<T>): Promise<Exclude<T, PendingApproval>> => {
    const reply = await result;
    if (reply instanceof PendingApproval) throw new Error('a person would have to allow this');
    return reply as Exclude<T, PendingApproval>;
  };
  type Args<K extends keyof SigningService> = SigningService[K] extends (...args: infer A) => unknown
    ? A
    : never;
  return {
    httpMessage: (...args: Args<'httpMessage'>) => done(signing.httpMessage(...args)),
    dpop: (...args: Args<'dpop'>) => done(signing.dpop(...args)),
    jwt: (...args: Args<'jwt'>) => done(signing.jwt(...args)),
    csr: (...args: Args<'csr'>) => done(signing.csr(...args)),
    raw: (...args: Args<'raw'>) => done(signing.raw(...args)),
  };
}

export interface SigningFixtureOptions {
  readonly policy?: PolicySection;
  /** Policies beside the shipped set. */
  readonly policies?: readonly string[];
  readonly backend?: KeyBackend;
  readonly identity?: HostIdentity | null;
  readonly credentials?: (agent: Agent) => AgentCredentials | undefined;
  readonly approvedNames?: () => ApprovedNames;
  readonly issuerAuthorities?: readonly string[];
  readonly hooks?: AgentHooks;
  readonly maxAgentsPerOwner?: number;
  readonly deadlineMs?: number;
  readonly now?: () => number;
}

export function signingFixture(options: SigningFixtureOptions = {}) {
  const database = new DatabaseSync(':memory:');
  for (const script of STATE_MIGRATIONS) database.exec(script);
  const backend = options.backend ?? new SoftwareBackend();
  const now = options.now ?? (() => NOW_MS);
  const agents = new SqliteAgentStore(database, now);
  const usage = new MemoryUsageHistory(now);
  const authorizer = authorizerWith({
    rules: rules(options.policy ?? { create: [{ uids: [OWNER_UID], names: ['*'] }], jwt_types: ['*'] }),
    ...(options.policies === undefined ? {} : { engine: engine(...options.policies) }),
    approvedNames: options.approvedNames ?? (() => ({ state: 'local' })),
    usage,
    now,
  });
  const recorder = new MemoryRecorder();
  const bounds = { maxWaitingPerShare: 16, maxWaiting: 64, reservedWaiting: 2 };
  const queue = new FairQueue({ name: 'the test', concurrency: 1, expectedServiceMs: 1, ...bounds });
  const hardware = new Hardware([{ backend, queue }]);
  const keys = new KeyMaker({
    hardware,
    queue: new FairQueue({ name: 'key generation', concurrency: 1, expectedServiceMs: 1, ...bounds }),
    deadlineMs: options.deadlineMs ?? 10_000,
    log: silentLogger,
  });
  const identity = () => (options.identity === null ? undefined : (options.identity ?? IDENTITY));
  const credentials = options.credentials ?? (() => undefined);
  const signer = new Signer({ authorizer, agents, hardware, now });
  const approvals = new ApprovalDesk({
    store: openApprovalStore(database),
    expiryMs: 60_000,
    maxPerShare: 4,
    now,
  });
  const sources = {
    identity,
    credentials,
    issuerAuthorities: () => options.issuerAuthorities ?? ['issuer.example', 'localhost:8443'],
    deadlineMs: options.deadlineMs ?? 10_000,
    now,
    randomOctets: randomBytes,
  };
  const attended = new SigningService({
    agents,
    authorizer,
    recorder,
    signer,
    usage,
    settleable: new SettleableSignatures(),
    approvals,
    draftContext: (agent) => draftContext(sources, agent),
  });
  const service = new AgentService({
    authorizer,
    recorder,
    agents,
    hardware,
    keys,
    blobs: { get: () => Promise.resolve(undefined) },
    identity,
    credentials,
    hooks: options.hooks ?? {},
    places: new OwnerPlaces(agents, options.maxAgentsPerOwner ?? 100),
    log: silentLogger,
    now,
  });
  return {
    signing: unattended(attended),
    /** Signing that may leave an approval pending. */
    attended,
    approvals,
    service,
    signer,
    agents,
    authorizer,
    recorder,
    queue,
    backend,
    /** An agent by the ordinary way, owned by the caller. */
    agent: async (name = 'planner', algorithm: Algorithm = 'ES256'): Promise<Agent> => {
      await service.create(caller(), { name, backend: backend.kind, algorithm });
      const made = agents.find(name);
      if (made === undefined) throw new Error('the agent was not kept');
      return made;
    },
    /** A sub-agent as delegation makes it, with a key of its own. */
    subAgent: async (name: string, algorithm: Algorithm = 'ES256'): Promise<Agent> => {
      const id = randomUUID();
      agents.reserveName(id, name, OWNER_UID);
      await keys.make(caller(), backend.kind, algorithm, (key) => {
        agents.add({ id, name, ownerUid: OWNER_UID, backend: backend.kind, createdAtMs: now(), ...key });
      });
      const made = agents.find(id);
      if (made === undefined) throw new Error('the agent was not kept');
      return made;
    },
  };
}

export type SigningFixture = ReturnType<typeof signingFixture>;

/** A signal that never fires. */
export const stay = (): AbortSignal => new AbortController().signal;

/** Credentials that end in `seconds`. */
export function credentialsFor(seconds: number, agentToken?: string, wit?: string): AgentCredentials {
  return {
    agentToken,
    wit,
    expiresAtMs: NOW_MS + seconds * 1000,
    assurance: 'hw-key',
    assuranceReason: 'appraised',
  };
}
