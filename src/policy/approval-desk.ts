/**
 * Approvals: what a policy wants a person to allow waits here, by its digest, while no queue is held. What is
 * allowed is judged again at release; any change voids it (S12).
 *
 * An approval is on disk, its request is not: that holds bodies and tokens. After a restart whoever asked makes
 * the same request again and finds the approval by the digest; whatever was decided meanwhile still counts, once.
 */
import { randomUUID } from 'node:crypto';
import { callerShare, type Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import type { ApprovalState } from '../wire/socket/approvals.ts';
import type { Charge } from './counters.ts';
import type { AgentFacts } from './proposal.ts';

/** Who asked, as far as an approver is compared with it. */
export interface Requester {
  readonly share: string;
  readonly uid: number;
  readonly unit?: string;
  readonly containerId?: string;
  readonly cgroup?: string;
}

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
  readonly requester: Requester;
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

type Run = ApprovalRequest['run'];

const KEPT_MS = 7 * 86_400_000;

export class ApprovalDesk {
  readonly #options: ApprovalDeskOptions;
  readonly #now: () => number;
  /** Approvals that are pending or allowed. */
  readonly #open = new Map<string, Approval>();
  /** How the calls of open approvals are made: of this process only. */
  readonly #runs = new Map<string, Run>();
  /** Approvals whose call is being made now. */
  readonly #releasing = new Set<string>();

  constructor(options: ApprovalDeskOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    options.store.prune(this.#now() - KEPT_MS);
    for (const approval of options.store.list(Infinity)) {
      if (isOpen(approval)) this.#open.set(approval.id, approval);
    }
  }

  /**
   * A new approval, or, for a request whose approval is from before a restart, that one.
   * @throws KeydError `too_many_requests`
   */
  open(request: ApprovalRequest): PendingApproval {
    this.#expire();
    const before = this.#withoutRequest(request);
    if (before !== undefined) {
      this.#runs.set(before.id, request.run);
      return new PendingApproval(before);
    }
    const requester = requesterOf(request.caller);
    const waiting = [...this.#open.values()].filter((it) => it.requester.share === requester.share).length;
    if (waiting >= this.#options.maxPerShare) {
      throw new KeydError(
        'too_many_requests',
        `${waiting} approvals of yours are pending, and no more may be`,
      );
    }
    const { agent, charges, digest, level, operation, policies, summary } = request;
    const now = this.#now();
    this.#options.store.prune(now - KEPT_MS);
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
      requester,
      createdAtMs: now,
      expiresAtMs: now + this.#options.expiryMs,
      decidedBy: undefined,
    };
    this.#set(approval, 'pending');
    this.#runs.set(approval.id, request.run);
    return new PendingApproval(approval);
  }

  /** Newest first. */
  list(): readonly Approval[] {
    this.#expire();
    return this.#options.store.list(256);
  }

  /** @throws KeydError `approval_not_found` */
  find(id: string): Approval {
    this.#expire();
    const approval = this.#open.get(id) ?? this.#options.store.find(id);
    if (approval === undefined) throw notFound();
    return approval;
  }

  /**
   * A person's word. The approver is another than the requester, in uid and in cgroup.
   * @throws KeydError `approval_not_found`, `approval_void`, `policy_denied`
   */
  decide(approver: Caller, id: string, decision: 'allow' | 'deny'): Approval {
    const approval = this.find(id);
    if (approval.state !== 'pending') throw isOver(approval);
    if (decision === 'allow') requireOther(requesterOf(approver), approval.requester);
    if (decision === 'allow' && approval.level === 'passkey') {
      throw new KeydError(
        'policy_denied',
        'the policy wants a passkey, and this version has no place to ask for one: it can be denied, or will expire',
      );
    }
    const decidedBy = { share: callerShare(approver), uid: approver.uid };
    return this.#set({ ...approval, decidedBy }, decision === 'allow' ? 'allowed' : 'denied');
  }

  /**
   * What has become of it: the pending approval, or, once it is allowed, the answer of the call; that once.
   * @throws KeydError `approval_not_found`, `approval_denied`, `approval_void`, `request_needed` (make the same
   *   request again: its approval is there), and what the call throws
   */
  async collect(caller: Caller, id: string, signal: AbortSignal): Promise<unknown> {
    const approval = this.find(id);
    requireRequester(caller, approval);
    if (approval.state === 'pending' || this.#releasing.has(id)) return new PendingApproval(approval);
    if (approval.state === 'denied') throw new KeydError('approval_denied', 'the request was denied');
    if (approval.state !== 'allowed') throw isOver(approval);
    const run = this.#runs.get(id);
    if (run === undefined) {
      throw new KeydError(
        'request_needed',
        'it was allowed, and the daemon was started anew since: make the same request again, and ask here again',
      );
    }
    this.#releasing.add(id);
    try {
      const answer = await run(id, signal);
      if (!(answer instanceof PendingApproval)) return answer;
      this.#set(answer.approval, 'void');
    } finally {
      this.#releasing.delete(id);
      // Whatever came of it, it is not asked a second time.
      if (this.#open.has(id)) this.#set(this.find(id), 'void');
    }
    throw new KeydError('approval_void', 'what policy wants has changed since it was allowed; ask again');
  }

  /**
   * Uses up an approval for exactly this: before the signature, for good.
   * @throws KeydError `approval_not_found`, `approval_void`
   */
  claim(id: string, caller: Caller, digest: string): void {
    const approval = this.find(id);
    requireRequester(caller, approval);
    if (approval.state !== 'allowed') throw isOver(approval);
    if (approval.digest !== digest) {
      this.#set(approval, 'void');
      throw new KeydError('approval_void', 'what was allowed is not what would be signed now; ask again');
    }
    this.#set(approval, 'used');
  }

  /** Until when what it allows may be signed, and good (S4), milliseconds since the epoch. @throws KeydError `approval_not_found` */
  endsAtMs(id: string): number {
    return this.find(id).expiresAtMs;
  }

  /** An open approval for exactly this of the same caller, whose request this process does not have. */
  #withoutRequest({ caller, digest }: ApprovalRequest): Approval | undefined {
    return [...this.#open.values()].find(
      (it) => it.digest === digest && isRequester(caller, it) && !this.#runs.has(it.id),
    );
  }

  #expire(): void {
    const now = this.#now();
    for (const approval of this.#open.values()) {
      if (approval.expiresAtMs <= now) this.#set(approval, 'expired');
    }
  }

  #set(approval: Approval, state: ApprovalState): Approval {
    const changed = { ...approval, state };
    this.#options.store.put(changed);
    if (isOpen(changed)) {
      this.#open.set(changed.id, changed);
    } else {
      this.#open.delete(changed.id);
      this.#runs.delete(changed.id);
    }
    return changed;
  }
}

function isOpen({ state }: Approval): boolean {
  return state === 'pending' || state === 'allowed';
}

function requesterOf(caller: Caller): Requester {
  const { uid, unit, containerId, cgroup } = caller;
  return {
    share: callerShare(caller),
    uid,
    ...(unit === undefined ? {} : { unit }),
    ...(containerId === undefined ? {} : { containerId }),
    ...(cgroup === undefined ? {} : { cgroup }),
  };
}

function isRequester(caller: Caller, { requester }: Approval): boolean {
  return requester.share === callerShare(caller) && requester.uid === caller.uid;
}

/** To anybody else there is no such approval. */
function requireRequester(caller: Caller, approval: Approval): void {
  if (!isRequester(caller, approval)) throw notFound();
}

/** Nobody approves what they asked for, nor does another process of the same unit, container or session (S12). */
function requireOther(approver: Requester, requester: Requester): void {
  const isSame =
    approver.uid === requester.uid ||
    (['unit', 'containerId', 'cgroup'] as const).some(
      (fact) => approver[fact] !== undefined && approver[fact] === requester[fact],
    );
  if (isSame) {
    throw new KeydError(
      'policy_denied',
      'who asks can not approve: the approver has another uid, and is in no unit, container or session of the requester',
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
    void: 'what was asked for has changed',
  };
  return new KeydError('approval_void', `${why[state]}; make the request again`);
}

function notFound(): KeydError {
  return new KeydError('approval_not_found', 'there is no such approval of yours');
}
