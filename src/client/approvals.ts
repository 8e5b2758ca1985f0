/** Calls that a person has to allow first: told apart, waited for, and collected once. */
import { setTimeout as delay } from 'node:timers/promises';
import { KeydError } from '../wire/problem.ts';
import type { ApprovalView, PendingReply } from '../wire/socket/approvals.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type { Answer, CallOptions, SocketTransport } from './socket-transport.ts';

export interface ApprovalOptions extends CallOptions {
  /**
   * Wait until a person has decided, then go on: at most until the approval expires or `signal` aborts. Default: the
   * call rejects with `PendingApprovalError`, and `collectApproval` of the client gets the answer later.
   */
  readonly waitForApproval?: boolean;
  /** Told when a wait begins. */
  readonly onApproval?: (approval: ApprovalView) => void;
}

export interface SignOptions extends ApprovalOptions {
  /** What it is for: judged by policy and recorded as the caller's word. */
  readonly intent?: Intent;
}

/** The call is not refused: it waits for a person. `code` is `approval_pending`. */
export class PendingApprovalError extends KeydError {
  readonly approval: ApprovalView;

  constructor(approval: ApprovalView) {
    super(
      'approval_pending',
      `policy wants a person to allow this first; it waits as approval ${approval.id} until ${approval.expiresAt}`,
    );
    this.name = 'PendingApprovalError';
    this.approval = approval;
  }
}

/** Where the daemon does not say how often to ask. */
const POLL_SECONDS = 2;
const MAX_POLL_SECONDS = 60;

/**
 * A call, and the wait for a person where policy wants one.
 * @throws KeydError `approval_pending`, `approval_denied`, `approval_void`, and what the daemon says to the call
 */
export async function callWithApproval(
  transport: SocketTransport,
  method: string,
  path: string,
  body: unknown,
  options: ApprovalOptions = {},
): Promise<unknown> {
  const answer = await transport.exchange(method, path, body, options);
  if (answer.status !== 202) return answer.json;
  const { approval } = answer.json as PendingReply;
  if (options.waitForApproval !== true) throw new PendingApprovalError(approval);
  options.onApproval?.(approval);
  // An idempotency key would give the first answer again, which is not the daemon's that was started anew.
  const again = (): Promise<Answer> => transport.exchange(method, path, body, { signal: options.signal });
  return waitFor(transport, approval, answer, { again, signal: options.signal });
}

/**
 * The answer of a call that a person has allowed, once; by whoever made the call.
 * @throws KeydError `approval_pending`, `approval_denied`, `approval_void`, `approval_not_found`, `request_needed`
 */
export async function collectApproval(
  transport: SocketTransport,
  id: string,
  options: ApprovalOptions = {},
): Promise<unknown> {
  const answer = await transport.exchange('GET', approvalPath(id), undefined, options);
  if (answer.status !== 202) return answer.json;
  const { approval } = answer.json as PendingReply;
  if (options.waitForApproval !== true) throw new PendingApprovalError(approval);
  options.onApproval?.(approval);
  return waitFor(transport, approval, answer, { again: undefined, signal: options.signal });
}

interface Wait {
  /** Makes the call anew, for a daemon that has not got the request any more. */
  readonly again: (() => Promise<Answer>) | undefined;
  readonly signal: AbortSignal | undefined;
}

async function waitFor(
  transport: SocketTransport,
  first: ApprovalView,
  answer: Answer,
  { again, signal }: Wait,
): Promise<unknown> {
  let approval = first;
  let last = answer;
  for (;;) {
    await pause(pollMs(last), signal);
    const next = await unlessAway(approval, () => poll(transport, approval.id, again, signal));
    if (next === undefined) continue;
    if (next.status !== 202) return next.json;
    last = next;
    ({ approval } = next.json as PendingReply);
  }
}

async function poll(
  transport: SocketTransport,
  id: string,
  again: (() => Promise<Answer>) | undefined,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  try {
    return await transport.exchange('GET', approvalPath(id), undefined, { signal });
  } catch (thrown) {
    if (again === undefined || !(thrown instanceof KeydError) || thrown.code !== 'request_needed')
      throw thrown;
    return again();
  }
}

/** A daemon that is being restarted keeps the approval; who waits for a person can wait for that. */
async function unlessAway(
  { expiresAt }: ApprovalView,
  ask: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await ask();
  } catch (thrown) {
    const isAway =
      thrown instanceof KeydError && ['daemon_unreachable', 'shutting_down'].includes(thrown.code);
    if (isAway && Date.now() < Date.parse(expiresAt)) return undefined;
    throw thrown;
  }
}

/** Rejects with the signal's reason, as a call does. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (thrown) {
    throw signal?.aborted === true ? signal.reason : thrown;
  }
}

function pollMs({ headers }: Answer): number {
  const seconds = Number(headers['retry-after'] ?? POLL_SECONDS);
  return 1000 * (seconds > 0 && seconds <= MAX_POLL_SECONDS ? seconds : POLL_SECONDS);
}

function approvalPath(id: string): string {
  return `/v1/approvals/${encodeURIComponent(id)}`;
}
