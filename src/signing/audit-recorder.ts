/** Decisions and outcomes as entries of the audit log. */
import { DenialQuota } from '../audit/denial-quota.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { callerShare, type Caller } from '../caller/caller.ts';
import type { Charge } from '../policy/counters.ts';
import type { DecisionEntry, OutcomeEntry, RecordedDecision, Recorder } from '../policy/recorder.ts';
import type { DecisionRecord, OutcomeRecord } from '../wire/audit-entry.ts';

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
        this.#log.append(outcomeRecord(outcome, index, this.#log.now()));
      },
    };
  }

  /** Writes the counts of denials that have none yet. */
  end(): void {
    this.#quota.end();
  }
}

/** One literal, whatever there is: an undefined member is not written. */
function decisionRecord(entry: DecisionEntry, at: number): DecisionRecord {
  const { agent, authority, decision, intent, reservation } = entry;
  return {
    at,
    kind: 'decision',
    action: entry.action,
    effect: decision.effect,
    policies: decision.policies,
    policyVersion: decision.policyVersion,
    caller: callerFacts(entry.caller),
    agent: agent && { id: agent.id, name: agent.name, kid: agent.kid },
    octetsSha256: entry.octetsSha256,
    parameters: bounded(entry.parameters),
    authority: authority && {
      principal: authority.principal,
      grantId: authority.grantId,
      depth: authority.depth,
      links: authority.links.map(({ jti, agentName, kid }) => ({ jti, agent: agentName, kid })),
    },
    intent: intent && intentMembers(intent),
    reservation: reservation && { id: reservation.id, charges: reservation.charges.map(chargeMembers) },
    refusal: entry.refusal,
    observed: decision.observed?.map(({ set, effect, policies }) => ({ set, effect, policies })),
  };
}

const MAX_LENGTH = 1024;
const MAX_ITEMS = 64;

/** A caller may name a thousand claims: an entry tells the first, and how many there are. */
function bounded(parameters: DecisionEntry['parameters']): DecisionEntry['parameters'] {
  const told: Record<string, DecisionEntry['parameters'][string]> = {};
  for (const name of Object.keys(parameters)) {
    const value = parameters[name];
    if (typeof value === 'object') told[name] = boundedList(value);
    else if (typeof value === 'string') told[name] = boundedLine(value);
    else if (value !== undefined) told[name] = value;
  }
  return told;
}

function boundedLine(text: string): string {
  if (text.length <= MAX_LENGTH) return text;
  return `${text.slice(0, MAX_LENGTH).replace(/[\uD800-\uDBFF]$/, '')}… (${text.length} characters)`;
}

/** Together no longer than a few of the longest lines. */
function boundedList(items: readonly string[]): readonly string[] {
  const fitting: string[] = [];
  let length = 0;
  for (const item of items.slice(0, MAX_ITEMS)) {
    const line = boundedLine(item);
    length += line.length;
    if (length > 8 * MAX_LENGTH) break;
    fitting.push(line);
  }
  const left = items.length - fitting.length;
  if (left > 0) fitting.push(`… (${left} more)`);
  return fitting;
}

function intentMembers({ purpose, task, session, note }: NonNullable<DecisionEntry['intent']>) {
  return { purpose, task, session, note };
}

function callerFacts(caller: Caller): DecisionRecord['caller'] {
  const { uid, gid, pid, startTimeTicks, executableSha256, unit, containerId, ingress } = caller;
  return { ingress: ingress.kind, uid, gid, pid, startTimeTicks, executableSha256, unit, containerId };
}

function chargeMembers(charge: Charge) {
  const { kind, unit, amount } = charge;
  const common = { kind, unit, amount: String(amount) };
  return charge.kind === 'limit' ? { ...common, policy: charge.policy, window: charge.window } : common;
}

function outcomeRecord(outcome: OutcomeEntry, decision: number, at: number): OutcomeRecord {
  const { effect, settlement } = outcome;
  return effect === 'done'
    ? { at, kind: 'outcome', decision, effect, signatureSha256: outcome.signatureSha256, settlement }
    : { at, kind: 'outcome', decision, effect, code: outcome.code, settlement };
}
