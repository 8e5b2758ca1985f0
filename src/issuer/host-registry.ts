/** hosts.toml: which TPMs may enrol, what their agents may be called and what they may get (check 27). */
import { readTomlConfig } from '../base/toml-config.ts';
import { checkHostLabel, isNamePattern } from '../wire/agent-name.ts';
import { array, integer, object, optional, refine, text, type Infer, type Shape } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';

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

const hostRecord = object({
  label,
  /** SHA-256 of the EK's TPMT_PUBLIC, as `agentkey host status` shows it. */
  ek_sha256: text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/, what: '64 lower-case hex digits' }),
  name_patterns: array(namePattern, { min: 1, max: 64 }),
  /** On whose behalf this host's agents act; the root of later delegations. */
  principal: text({ maxLength: 255, pattern: /^[\x21-\x7e]+$/, what: 'visible ASCII' }),
  max_ttl_seconds: optional(integer({ min: 60, max: 86_400 })),
  /** Ceilings for budgets: recorded now, enforced from the authority issue on. */
  budget: optional(
    array(
      object({
        unit: text({ maxLength: 32, pattern: /^[A-Za-z0-9._-]+$/ }),
        decimals: integer({ min: 0, max: 15 }),
        amount: text({ maxLength: 15, pattern: /^(?:0|[1-9]\d*)$/, what: 'a whole number as text' }),
      }),
      { max: 16 },
    ),
  ),
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

const hostsFile = refine(object({ host: optional(array(hostRecord, { max: 100_000 })) }), ({ host = [] }) => {
  for (const member of ['label', 'ek_sha256'] as const) {
    const seen = new Set<string>();
    for (const record of host) {
      if (seen.has(record[member])) return `has two hosts with the ${member} ${record[member]}`;
      seen.add(record[member]);
    }
  }
  return undefined;
});

/** One approved host. */
export type HostRecord = Infer<typeof hostRecord>;

export class HostRegistry {
  readonly #file: string;
  #byEk: ReadonlyMap<string, HostRecord> = new Map();

  /** @throws KeydError `configuration_invalid` with every fault of the file */
  constructor(file: string) {
    this.#file = file;
    this.reload();
  }

  /** Reads the file again; with a fault in it the old records stay in force. @throws KeydError `configuration_invalid` */
  reload(): void {
    const { host = [] } = readTomlConfig(this.#file, hostsFile);
    this.#byEk = new Map(host.map((record) => [record.ek_sha256, record]));
  }

  get size(): number {
    return this.#byEk.size;
  }

  /** The record of this TPM, or undefined where nobody approved it. */
  find(ekSha256: string): HostRecord | undefined {
    return this.#byEk.get(ekSha256);
  }
}
