/** Decisions and outcomes as entries of the audit log. */
import { DenialQuota } from '../audit/denial-quota.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { callerShare, type Caller } from '../caller/caller.ts';
import type { Charge } from '../policy/counters.ts';
import type { DecisionEntry, OutcomeEntry, RecordedDecision, Recorder } from '../policy/recorder.ts';
import type { DecisionRecord } from '../wire/audit-entry.ts';

/** What was not written in full has no outcome. */
const COUNTED: RecordedDecision = { outcome: () => undefined };

export class AuditRecorder implements Recorder {
  readonly #log: AuditLog;
  readonly #quota: DenialQuota;

  /** @param denialsPerMinute full entries of one caller's denials; more are counted only */
  constructor(log: AuditLog, denialsPerMinute: number) {
    this.#log = log;
    this.#quota = new DenialQuota(denialsPerMinute, (share, count, since) => {
      log.append({ at: log.now(), kind: 'denials', share, count, since });
    });
  }

  /** @throws KeydError `audit_unavailable` */
  async decision(entry: DecisionEntry): Promise<RecordedDecision> {
    const { effect } = entry.decision;
    const at = this.#log.now();
    if (effect === 'deny' && !this.#quota.take(callerShare(entry.caller), at, this.#log.isShort))
      return COUNTED;
    const { index, durable } = this.#log.append(decisionRecord(entry, at));
    await durable;
    if (effect !== 'permit') return COUNTED;
    return {
      outcome: (outcome) => {
        this.#log.append({
          at: this.#log.now(),
          kind: 'outcome',
          decision: index,
          ...outcomeMembers(outcome),
        });
      },
    };
  }

  /** Writes the counts of denials that have none yet. */
  end(): void {
    this.#quota.end();
  }
}

function decisionRecord(entry: DecisionEntry, at: number): DecisionRecord {
  const {
    action,
    agent,
    authority,
    caller,
    decision,
    intent,
    octetsSha256,
    parameters,
    refusal,
    reservation,
  } = entry;
  return {
    at,
    kind: 'decision',
    action,
    effect: decision.effect,
    policies: [...decision.policies],
    policyVersion: decision.policyVersion,
    caller: callerFacts(caller),
    ...(agent === undefined ? {} : { agent: { id: agent.id, name: agent.name, kid: agent.kid } }),
    ...(octetsSha256 === undefined ? {} : { octetsSha256 }),
    parameters: bounded(parameters),
    ...(authority === undefined
      ? {}
      : {
          authority: {
            principal: authority.principal,
            grantId: authority.grantId,
            depth: authority.depth,
            links: authority.links.map(({ jti, agentName, kid }) => ({ jti, agent: agentName, kid })),
          },
        }),
    ...(intent === undefined ? {} : { intent: intentMembers(intent) }),
    ...(reservation === undefined
      ? {}
      : { reservation: { id: reservation.id, charges: reservation.charges.map(chargeMembers) } }),
    ...(refusal === undefined ? {} : { refusal }),
    ...(decision.observed === undefined
      ? {}
      : { observed: decision.observed.map(({ set, effect, policies }) => ({ set, effect, policies })) }),
  };
}

const MAX_LENGTH = 1024;
const MAX_ITEMS = 64;

/** A caller may name a thousand claims: an entry tells the first, and how many there are. */
function bounded(parameters: DecisionEntry['parameters']): DecisionEntry['parameters'] {
  const line = (text: string): string => {
    if (text.length <= MAX_LENGTH) return text;
    return `${text.slice(0, MAX_LENGTH).replace(/[\uD800-\uDBFF]$/, '')}… (${text.length} characters)`;
  };
  const member = (value: string | number | readonly string[]) => {
    if (typeof value === 'number') return value;
    if (typeof value === 'string') return line(value);
    const items = value.slice(0, MAX_ITEMS).map(line);
    // Together no longer than a few of the longest.
    const fitting = items.filter((_, i) => items.slice(0, i + 1).join('').length <= 8 * MAX_LENGTH);
    const left = value.length - fitting.length;
    return left === 0 ? fitting : [...fitting, `… (${left} more)`];
  };
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, member(value)]));
}

function intentMembers({ purpose, task, session, note }: NonNullable<DecisionEntry['intent']>) {
  return {
    ...(purpose === undefined ? {} : { purpose }),
    ...(task === undefined ? {} : { task }),
    ...(session === undefined ? {} : { session }),
    ...(note === undefined ? {} : { note }),
  };
}

function callerFacts(caller: Caller): DecisionRecord['caller'] {
  const { uid, gid, pid, startTimeTicks, executableSha256, unit, containerId, ingress } = caller;
  return {
    ingress: ingress.kind,
    uid,
    gid,
    pid,
    ...(startTimeTicks === undefined ? {} : { startTimeTicks }),
    ...(executableSha256 === undefined ? {} : { executableSha256 }),
    ...(unit === undefined ? {} : { unit }),
    ...(containerId === undefined ? {} : { containerId }),
  };
}

function chargeMembers(charge: Charge) {
  const { kind, unit, amount } = charge;
  const common = { kind, unit, amount: String(amount) };
  return charge.kind === 'limit' ? { ...common, policy: charge.policy, window: charge.window } : common;
}

function outcomeMembers(outcome: OutcomeEntry) {
  return outcome.effect === 'done'
    ? {
        effect: outcome.effect,
        ...(outcome.signatureSha256 === undefined ? {} : { signatureSha256: outcome.signatureSha256 }),
        ...(outcome.settlement === undefined ? {} : { settlement: outcome.settlement }),
      }
    : {
        effect: outcome.effect,
        code: outcome.code,
        ...(outcome.settlement === undefined ? {} : { settlement: outcome.settlement }),
      };
}
