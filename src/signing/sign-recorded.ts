import { hash } from 'node:crypto';
import type { Authorizer, Grant } from '../policy/authorize.ts';
import type { Reservation } from '../policy/counters.ts';
import type { DecisionEntry, RecordedDecision, Recorder, Settlement } from '../policy/recorder.ts';
import { asKeydError } from '../wire/problem.ts';
import type { Signer } from './signer.ts';

/** What was authorized, and what its record tells. */
export interface AuthorizedSignature {
  readonly entry: DecisionEntry;
  readonly grant: Grant;
  readonly reservation: Reservation | undefined;
  readonly signal: AbortSignal;
}

/**
 * The signature (JOSE form), once its decision is on record. The decision is written while the hardware
 * works; what it costs is durable before the hardware is asked (S16). If the hardware may have been asked,
 * the cost is spent whatever came of it.
 */
export async function signRecorded(
  { authorizer, recorder, signer }: { authorizer: Authorizer; recorder: Recorder; signer: Signer },
  { entry, grant, reservation, signal }: AuthorizedSignature,
): Promise<Uint8Array> {
  const sign = (): Promise<Uint8Array> => signer.sign(grant, signal);
  const record = (): Promise<RecordedDecision> =>
    recorder.decision(reservation === undefined ? entry : withReservation(entry, reservation));
  const reserved = reservation?.durable;
  // A cost that is not on disk leads to no signature, and is on record all the same.
  const [signature, recorded] = await Promise.allSettled(
    reserved === undefined ? [sign(), record()] : [reserved.then(sign), reserved.then(record, record)],
  );
  const settlement = settle(authorizer, grant, reservation);
  return released(recorded, signature, settlement);
}

function withReservation(entry: DecisionEntry, { id, charges }: Reservation): DecisionEntry {
  return { ...entry, reservation: { id, charges } };
}

function settle(
  authorizer: Authorizer,
  grant: Grant,
  reservation: Reservation | undefined,
): Settlement | undefined {
  const unasked = authorizer.withdraw(grant);
  if (reservation === undefined) return undefined;
  if (unasked) reservation.release();
  else reservation.commit();
  return unasked ? 'released' : 'committed';
}

/** The signature, if its decision is on record; the outcome follows in either case. */
function released(
  record: PromiseSettledResult<RecordedDecision>,
  signature: PromiseSettledResult<Uint8Array>,
  settlement: Settlement | undefined,
): Uint8Array {
  const settled = settlement === undefined ? {} : { settlement };
  if (record.status === 'rejected') throw asKeydError(record.reason);
  if (signature.status === 'rejected') {
    const error = asKeydError(signature.reason);
    record.value.outcome({ effect: 'failed', code: error.code, ...settled });
    throw error;
  }
  const signatureSha256 = hash('sha256', signature.value, 'hex');
  record.value.outcome({ effect: 'done', signatureSha256, ...settled });
  return signature.value;
}
