/**
 * Approvals: what a policy wants a person to allow waits here, by its digest, while no queue is held. What is
 * allowed is judged again at release; any change voids it (S12).
 */
import { randomUUID } from 'node:crypto';
import { callerShare, type Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import type { Charge } from './counters.ts';
import type { AgentFacts } from './proposal.ts';

export type ApprovalState = 'pending' | 'allowed' | 'denied' | 'expired' | 'used' | 'void';

/** What is kept of an approval; nothing in it is a secret, a token or a body. */
export interface Approval {
  readonly id: string;
  readonly state: ApprovalState;
  /** base64url SHA-256 of exactly what is asked for. */
  readonly digest: string;
  readonly level: 'person' | 'passkey';
  readonly agentId: string;
  readonly agentName: string;
  readonly operation: string;
  /** For people: method, origin, path and the like. */
  readonly summary: Readonly<Record<string, unknown>>;
  readonly charges: readonly { readonly unit: string; readonly amount: string }[];
  readonly policies: readonly string[];
  readonly requester: { readonly share: string; readonly uid: number };
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly decidedBy: { readonly share: string; readonly uid: number } | undefined;
}

/** A returned write is on disk. */
export interface ApprovalStore {
  put(approval: Approval): void;
  find(id: string): Approval | undefined;
  /** Newest first. */
  list(limit: number): readonly Approval[];
  /** Removes what ended before then. */
  prune(beforeMs: number): void;
}

export interface ApprovalRequest {
  readonly caller: Caller;
  readonly agent: AgentFacts;
  readonly digest: string;
  readonly operation: string;
  readonly summary: Readonly<Record<string, unknown>>;
  readonly policies: readonly string[];
  readonly charges: readonly Charge[];
  readonly level: 'person' | 'passkey';
  /** Makes the call again, with this approval in hand. */
  readonly run: (approvalId: string, signal: AbortSignal) => Promise<unknown>;
}

/** What the caller is told: ask again at `/v1/approvals/{id}`. */
export class PendingApproval {
  readonly approval: Approval;

  constructor(approval: Approval) {
    this.approval = approval;
  }
}

export interface ApprovalDeskOptions {
  readonly store: ApprovalStore;
  readonly expiryMs: number;
  /** Pending ones of one share (S20). */
  readonly maxPerShare: number;
  readonly now?: () => number;
}

const KEPT_MS = 7 * 86_400_000;

export class ApprovalDesk {
  readonly #options: ApprovalDeskOptions;
  readonly #now: () => number;
  /** Requests, in memory only: they hold bodies and tokens. After a restart their approvals are void. */
  readonly #requests = new Map<string, ApprovalRequest>();

  constructor(options: ApprovalDeskOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    options.store.prune(this.#now() - KEPT_MS);
    for (const approval of options.store.list(Infinity)) {
      if (approval.state === 'pending' || approval.state === 'allowed') this.#set(approval, 'void');
    }
  }

  /** @throws KeydError `too_many_requests` */
  open(request: ApprovalRequest): PendingApproval {
    this.#expire();
    const share = callerShare(request.caller);
    const waiting = [...this.#requests.values()].filter(({ caller }) => callerShare(caller) === share).length;
    if (waiting >= this.#options.maxPerShare) {
      throw new KeydError(
        'too_many_requests',
        `${waiting} approvals of yours are pending, and no more may be`,
      );
    }
    const { agent, charges, digest, level, operation, policies, summary } = request;
    const now = this.#now();
    const approval: Approval = {
      id: randomUUID(),
      state: 'pending',
      digest,
      level,
      agentId: agent.id,
      agentName: agent.name,
      operation,
      summary,
      charges: charges.map(({ unit, amount }) => ({ unit, amount: String(amount) })),
      policies,
      requester: { share, uid: request.caller.uid },
      createdAtMs: now,
      expiresAtMs: now + this.#options.expiryMs,
      decidedBy: undefined,
    };
    this.#options.store.put(approval);
    this.#requests.set(approval.id, request);
    return new PendingApproval(approval);
  }

  /** Newest first. */
  list(): readonly Approval[] {
    this.#expire();
    return this.#options.store.list(256);
  }

  /**
   * A person's word. The approver is another than the requester, in uid and in cgroup.
   * @throws KeydError `approval_not_found`, `approval_void`, `policy_denied`
   */
  decide(approver: Caller, id: string, decision: 'allow' | 'deny'): Approval {
    const approval = this.#find(id);
    if (approval.state !== 'pending') throw isOver(approval);
    const request = this.#requests.get(id);
    if (request === undefined) throw isOver({ ...approval, state: 'void' });
    if (decision === 'allow') requireOther(approver, request.caller);
    if (decision === 'allow' && approval.level === 'passkey') {
      throw new KeydError(
        'policy_denied',
        'the policy wants a passkey, and this version has no place to ask for one: it can be denied, or will expire',
      );
    }
    if (decision === 'deny') this.#requests.delete(id);
    return this.#set(
      { ...approval, decidedBy: { share: callerShare(approver), uid: approver.uid } },
      decision === 'allow' ? 'allowed' : 'denied',
    );
  }

  /**
   * What has become of it: the pending approval, or, once it is allowed, the answer of the call; that once.
   * @throws KeydError `approval_not_found`, `approval_denied`, `approval_void`, and what the call throws
   */
  async collect(caller: Caller, id: string, signal: AbortSignal): Promise<unknown> {
    const approval = this.#find(id);
    if (approval.requester.share !== callerShare(caller) || approval.requester.uid !== caller.uid) {
      throw notFound();
    }
    if (approval.state === 'pending') return new PendingApproval(approval);
    if (approval.state === 'denied') throw new KeydError('approval_denied', 'the request was denied');
    const request = this.#requests.get(id);
    if (approval.state !== 'allowed' || request === undefined) throw isOver(approval);
    // Whatever comes of it, it is not asked a second time.
    this.#requests.delete(id);
    let answer: unknown;
    try {
      answer = await request.run(id, signal);
    } finally {
      // What was not used up by now never will be, and is not shown as if it could.
      if (this.#options.store.find(id)?.state === 'allowed') this.#set(approval, 'void');
    }
    if (!(answer instanceof PendingApproval)) return answer;
    throw new KeydError('approval_void', 'what policy wants has changed since it was allowed; ask again');
  }

  /**
   * Uses up an approval for exactly this: before the signature, for good.
   * @throws KeydError `approval_not_found`, `approval_void`
   */
  claim(id: string, caller: Caller, digest: string): void {
    const approval = this.#find(id);
    if (approval.requester.share !== callerShare(caller) || approval.requester.uid !== caller.uid) {
      throw notFound();
    }
    if (approval.state !== 'allowed') throw isOver(approval);
    // The call may have waited (for a decision point) since it was collected.
    if (approval.expiresAtMs <= this.#now()) throw isOver(this.#set(approval, 'expired'));
    if (approval.digest !== digest) {
      this.#set(approval, 'void');
      throw new KeydError('approval_void', 'what was allowed is not what would be signed now; ask again');
    }
    this.#set(approval, 'used');
  }

  /** Until when what it allows may be signed, and good (S4), milliseconds since the epoch. @throws KeydError `approval_not_found` */
  endsAtMs(id: string): number {
    return this.#find(id).expiresAtMs;
  }

  #find(id: string): Approval {
    this.#expire();
    const approval = this.#options.store.find(id);
    if (approval === undefined) throw notFound();
    return approval;
  }

  #expire(): void {
    const now = this.#now();
    for (const id of this.#requests.keys()) {
      const approval = this.#options.store.find(id);
      if (approval === undefined || approval.expiresAtMs > now) continue;
      this.#requests.delete(id);
      this.#set(approval, 'expired');
    }
  }

  #set(approval: Approval, state: ApprovalState): Approval {
    const changed = { ...approval, state };
    this.#options.store.put(changed);
    return changed;
  }
}

/** Nobody approves what they asked for, nor does another process of the same unit or container (S12). */
function requireOther(approver: Caller, requester: Caller): void {
  const isSame =
    approver.uid === requester.uid ||
    (approver.unit !== undefined && approver.unit === requester.unit) ||
    (approver.containerId !== undefined && approver.containerId === requester.containerId);
  if (isSame) {
    throw new KeydError(
      'policy_denied',
      'who asks can not approve: the approver has another uid, and is in no unit or container of the requester',
    );
  }
}

function isOver({ state }: Approval): KeydError {
  const why: Readonly<Record<ApprovalState, string>> = {
    pending: 'nobody has decided yet',
    allowed: 'it was allowed before',
    denied: 'it was denied',
    expired: 'nobody decided in time',
    used: 'it was used, and is good once',
    void: 'the daemon was started anew, or what was asked for has changed',
  };
  return new KeydError('approval_void', `${why[state]}; make the request again`);
}

function notFound(): KeydError {
  return new KeydError('approval_not_found', 'there is no such approval of yours');
}
