/** What an agent can get back of a budget: the server's signed answer, as the daemon wants to see it. */
import { encodeBase64url } from '../wire/base64url.ts';
import type { BudgetView } from '../wire/socket/budget.ts';
import { MAX_BODY_OCTETS } from '../wire/socket/signing.ts';
import { BUDGET_FIELD } from '../wire/settlement.ts';
import { asKeydError, type KeydError } from '../wire/problem.ts';
import type { ApprovalOptions } from './approvals.ts';
import type { HttpMessageInput } from './http-message-input.ts';

/** Headers to attach to a request, and where it costs something, what its cost is settled by. */
export interface SignedMessage {
  readonly headers: Readonly<Record<string, string>>;
  readonly reservation?: string;
}

/** An answer as it came. */
export interface SettlementAnswer {
  readonly status: number;
  readonly headers: Iterable<readonly [string, string]>;
  readonly body?: Uint8Array;
}

/** What came of a settlement: budgets as they are now, or why the request stays spent in full. */
export type SettlementOutcome =
  | { readonly reservation: string; readonly budgets: readonly BudgetView[] }
  | { readonly reservation: string; readonly error: KeydError };

/** Whoever signs for a `fetch`. */
export interface HttpMessageSigner {
  signMessage(input: HttpMessageInput, options?: ApprovalOptions): Promise<SignedMessage>;
  settle?(reservation: string, answer: SettlementAnswer): Promise<readonly BudgetView[]>;
}

/** The body of `budget/settle`. */
export function settlementBody(reservation: string, { status, headers, body }: SettlementAnswer): object {
  const response = {
    status,
    headers: [...headers],
    ...(body === undefined ? {} : { body: encodeBase64url(body) }),
  };
  return { reservation, response };
}

/**
 * Settles by a copy of the response, where its server says what it cost. Never rejects: what could not be settled
 * is told and stays spent.
 */
export async function settleBy(
  signer: HttpMessageSigner,
  reservation: string,
  response: Response,
): Promise<SettlementOutcome | undefined> {
  if (signer.settle === undefined || !response.headers.has(BUDGET_FIELD)) return undefined;
  try {
    const body = await copyOf(response);
    if (body === undefined) return undefined;
    const answer = { status: response.status, headers: response.headers, body };
    return { reservation, budgets: await signer.settle(reservation, answer) };
  } catch (thrown) {
    return { reservation, error: asKeydError(thrown) };
  }
}

/** Undefined where it is longer than the daemon takes: it stays as it is for who asked. */
async function copyOf(response: Response): Promise<Uint8Array | undefined> {
  const length = Number(response.headers.get('content-length') ?? Infinity);
  if (length > MAX_BODY_OCTETS) return undefined;
  return new Uint8Array(await response.clone().arrayBuffer());
}
