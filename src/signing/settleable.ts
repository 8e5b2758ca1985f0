/**
 * Signatures whose cost may still be lowered. In memory: what a restart forgets stays spent in full, which is what
 * an answer that never came would have left it at.
 */
import type { SignedRequest } from '../wire/http-signature.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

/** The request as it was signed, its `signature` field among the headers. */
export interface SettleableRequest extends SignedRequest {
  /** Milliseconds since the epoch. */
  readonly signedAtMs: number;
}

export interface SettleableSignature {
  readonly agentId: string;
  /** Absent for what is no HTTP message. */
  readonly request?: SettleableRequest;
  /** Every policy that metered it lets the agent's own word count. */
  readonly agentMayReport: boolean;
}

/** As it is kept: one text without references, since thousands of them live longer than the requests they are of. */
interface KeptSignature {
  readonly agentId: string;
  readonly agentMayReport: boolean;
  readonly request: string | undefined;
}

/** As many as the ledger still lowers. */
const MAX_KEPT = 10_000;

export class SettleableSignatures {
  readonly #byReservation = new Map<string, KeptSignature>();
  /** The oldest that is left, over and over: from the first on, a walk would pass all that have gone. */
  readonly #oldest = this.#byReservation.keys();

  remember(reservation: string, { agentId, agentMayReport, request }: SettleableSignature): void {
    const kept = { agentId, agentMayReport, request: request === undefined ? undefined : toText(request) };
    this.#byReservation.set(reservation, kept);
    if (this.#byReservation.size <= MAX_KEPT) return;
    const { value, done } = this.#oldest.next();
    if (done !== true) this.#byReservation.delete(value);
  }

  /** @throws KeydError `not_found` where it is unknown, forgotten, settled, or another agent's */
  require(reservation: string, agentId: string): SettleableSignature {
    const found = this.#byReservation.get(reservation);
    if (found?.agentId !== agentId) {
      throw new KeydError(
        'not_found',
        'this agent has no reservation of this id that could still be settled',
      );
    }
    const { agentMayReport, request } = found;
    return { agentId, agentMayReport, ...(request === undefined ? {} : { request: fromText(request) }) };
  }

  forget(reservation: string): void {
    this.#byReservation.delete(reservation);
  }
}

function toText({ method, target, headers, signedAtMs }: SettleableRequest): string {
  return JSON.stringify({ method, target: target.canonical, headers, signedAtMs });
}

/** @param text what `toText` made */
function fromText(text: string): SettleableRequest {
  const kept = JSON.parse(text) as Omit<SettleableRequest, 'target'> & { readonly target: string };
  return { ...kept, target: parseTargetUri(kept.target) };
}
