/** hosts.toml: which TPMs may enrol, what their agents may be called and what they may get (check 27). */
import { parseTomlConfig, readTomlConfig } from '../base/toml-config.ts';
import { checkHostLabel, isNamePattern } from '../wire/agent-name.ts';
import {
  array,
  integer,
  object,
  oneOf,
  optional,
  refine,
  text,
  type Infer,
  type Shape,
} from '../wire/check.ts';
import { CREDENTIAL_KINDS } from '../wire/issuance/issue.ts';
import { KeydError } from '../wire/problem.ts';
import { budgetTable, grantFault, grantTable, hostGrant, type HostGrant } from './host-grant.ts';
import type { HostRecord } from './verifier/host-policy.ts';

const label: Shape<string> = refine(text({ maxLength: 63 }), (value) => {
  try {
    checkHostLabel(value);
    return undefined;
  } catch (thrown) {
    return thrown instanceof KeydError ? `is wrong: ${thrown.message}` : 'is no host label';
  }
});
const namePattern = refine(text({ maxLength: 63 }), (value) =>
  isNamePattern(value) ? undefined : 'is no name pattern: a name in which * stands for any characters',
);

const hostMembers = object({
  label,
  /** SHA-256 of the EK's TPMT_PUBLIC, as `agentkey host status` shows it. */
  ek_sha256: text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/, what: '64 lower-case hex digits' }),
  name_patterns: array(namePattern, { min: 1, max: 64 }),
  /** On whose behalf this host's agents act; the root of later delegations. */
  principal: text({ maxLength: 255, pattern: /^[\x21-\x7e]+$/, what: 'visible ASCII' }),
  max_ttl_seconds: optional(integer({ min: 60, max: 86_400 })),
  credentials: optional(array(oneOf(CREDENTIAL_KINDS), { min: 1, max: 3 })),
  max_issuances_per_hour: optional(integer({ min: 1, max: 1_000_000 })),
  /** What its agents may do in the principal's name; without it, nothing. */
  grant: optional(grantTable),
  /** Ceilings for budgets of the grant; no budget for a unit means zero. */
  budget: optional(array(budgetTable, { max: 16 })),
  /** PKCS#11 tokens that an operator has registered by ceremony. */
  token: optional(
    array(
      object({
        manufacturer: text({ maxLength: 32 }),
        model: text({ maxLength: 16 }),
        serial: text({ maxLength: 16 }),
      }),
      { max: 16 },
    ),
  ),
});

const hostTable = refine(hostMembers, ({ grant, budget = [] }) =>
  grant === undefined ? undefined : grantFault(grant, budget),
);

const hostsFile = refine(object({ host: optional(array(hostTable, { max: 100_000 })) }), ({ host = [] }) => {
  for (const member of ['label', 'ek_sha256'] as const) {
    const seen = new Set<string>();
    for (const record of host) {
      if (seen.has(record[member])) return `has two hosts with the ${member} ${record[member]}`;
      seen.add(record[member]);
    }
  }
  return undefined;
});

type HostTable = Infer<typeof hostTable>;

/** What an operator approved for one host. */
export interface ApprovedHost extends HostRecord {
  /** What DT₀ gives its root agents; undefined where the record gives nothing. */
  readonly grant: HostGrant | undefined;
}

const DEFAULT_ISSUANCES_PER_HOUR = 10_000;

/** Checks the text of a hosts file; `fileName` only names it. @throws KeydError `configuration_invalid` */
export function checkHostsText(text: string, fileName: string): void {
  parseTomlConfig(text, fileName, hostsFile);
}

export class HostRegistry {
  readonly #file: string;
  readonly #maxTtlSeconds: number;
  #byEk: ReadonlyMap<string, ApprovedHost> = new Map();

  /**
   * @param maxTtlSeconds longest life of a credential; a record can only lower it
   * @throws KeydError `configuration_invalid` with every fault of the file
   */
  constructor(file: string, maxTtlSeconds: number) {
    this.#file = file;
    this.#maxTtlSeconds = maxTtlSeconds;
    this.reload();
  }

  /** Reads the file again; with a fault in it the old records stay in force. @throws KeydError `configuration_invalid` */
  reload(): void {
    this.prepareReload()();
  }

  /**
   * Reads the file and gives what puts its records in force, so that a caller can check other things in between.
   * @throws KeydError `configuration_invalid`
   */
  prepareReload(): () => void {
    const { host = [] } = readTomlConfig(this.#file, hostsFile);
    const byEk = new Map(host.map((table) => [table.ek_sha256, this.#toHost(table)]));
    return () => {
      this.#byEk = byEk;
    };
  }

  get size(): number {
    return this.#byEk.size;
  }

  list(): readonly ApprovedHost[] {
    return [...this.#byEk.values()];
  }

  /** The record of this TPM, or undefined where nobody approved it. */
  find(ekSha256: string): ApprovedHost | undefined {
    return this.#byEk.get(ekSha256);
  }

  #toHost(table: HostTable): ApprovedHost {
    return {
      ekHash: table.ek_sha256,
      label: table.label,
      namePatterns: table.name_patterns,
      principal: table.principal,
      maxTtlSeconds: Math.min(table.max_ttl_seconds ?? this.#maxTtlSeconds, this.#maxTtlSeconds),
      profiles: table.credentials ?? CREDENTIAL_KINDS,
      tokens: table.token ?? [],
      maxIssuancesPerHour: table.max_issuances_per_hour ?? DEFAULT_ISSUANCES_PER_HOUR,
      grant: table.grant === undefined ? undefined : hostGrant(table.grant, table.budget ?? []),
    };
  }
}
