/** The issuer as outside witness of its hosts' logs (S8): what a challenge tells of them, and how evidence moves it on. */
import type { AnchoredHeads } from '../wire/audit-anchor.ts';
import { integer } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import { nowSeconds, type IssuerContext } from './issuer-context.ts';
import type { EnrolledHost } from './store/host-records.ts';
import type { SeenWitness } from './store/witness-store.ts';
import type { HostLogs } from './verifier/audit-counter.ts';

/** The form in which a session keeps which heads its challenge told. */
export const witnessRevision = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

/** The member of a challenge's answer, and what the session is to remember. */
export async function tellWitness(
  { store }: IssuerContext,
  { ekHash }: Pick<EnrolledHost, 'ekHash'>,
): Promise<{ readonly told: { readonly witness?: AnchoredHeads }; readonly revision: number }> {
  const seen = await store.witnesses.byEk(ekHash);
  return seen === undefined
    ? { told: {}, revision: 0 }
    : { told: { witness: heads(seen) }, revision: seen.revision };
}

/**
 * What evidence is judged against: exactly the heads that its challenge told, or a fork between two sessions would
 * show in neither.
 * @throws KeydError `conflict` where other evidence of the host was seen since
 */
export async function logsOf(
  { store }: IssuerContext,
  { ekHash, nvPublic }: Pick<EnrolledHost, 'ekHash' | 'nvPublic'>,
  revision: number,
): Promise<HostLogs> {
  const witness = await store.witnesses.byEk(ekHash);
  if ((witness?.revision ?? 0) !== revision) throw overtaken();
  return { nvPublic, witness };
}

/** Remembers what was seen; before anything is given for it. @throws KeydError `conflict` */
export async function witnessHeads(
  context: IssuerContext,
  { ekHash, nvPublic }: Pick<EnrolledHost, 'ekHash' | 'nvPublic'>,
  revision: number,
  seen: AnchoredHeads | undefined,
): Promise<void> {
  if (seen === undefined) return;
  const { witnesses } = context.store;
  const isNext = await witnesses.goOn(ekHash, revision, seen, nvPublic !== undefined, nowSeconds(context));
  if (!isNext) throw overtaken();
}

function heads({ epoch, ledgerHead, auditHead, auditSize }: SeenWitness): AnchoredHeads {
  return { epoch, ledgerHead, auditHead, auditSize };
}

function overtaken(): KeydError {
  return new KeydError('conflict', 'other evidence of this host came between; begin again at the challenge');
}
