/** What comes after what around one signature (S16, docs/decisions/0015). */
import { describe, expect, it } from 'vitest';
import type { Authorizer, Grant } from '../../../src/policy/authorize.ts';
import type { Reservation } from '../../../src/policy/counters.ts';
import type { DecisionEntry, OutcomeEntry } from '../../../src/policy/recorder.ts';
import { signRecorded } from '../../../src/signing/sign-recorded.ts';
import type { Signer } from '../../../src/signing/signer.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';

const SIGNATURE = Uint8Array.of(1, 2, 3);
const ENTRY = { action: 'http-message', parameters: {} } as unknown as DecisionEntry;

/** Everything that a signature waits for, each to be let go by name; `told` is what has begun and come of it. */
function scene(isMetered: boolean) {
  const told: string[] = [];
  const reserved = Promise.withResolvers<undefined>();
  const written = Promise.withResolvers<undefined>();
  const signed = Promise.withResolvers<undefined>();
  let isAsked = false;
  const reservation = {
    id: 'r1',
    charges: [],
    durable: reserved.promise,
    commit: () => told.push('committed'),
    release: () => told.push('released'),
  } as unknown as Reservation;
  const recorder = {
    async decision(entry: DecisionEntry) {
      told.push(`decision ${entry.reservation?.id ?? 'free'}`);
      await written.promise;
      return { outcome: (outcome: OutcomeEntry) => told.push(outcomeText(outcome)) };
    },
  };
  const signer = {
    async sign() {
      isAsked = true;
      told.push('hardware');
      await signed.promise;
      return SIGNATURE;
    },
  } as unknown as Signer;
  const authorizer = { withdraw: () => !isAsked } as unknown as Authorizer;
  const result = signRecorded(
    { authorizer, recorder, signer },
    {
      entry: ENTRY,
      grant: {} as unknown as Grant,
      reservation: isMetered ? reservation : undefined,
      signal: AbortSignal.timeout(60_000),
    },
  );
  result.catch(() => undefined);
  return { told, reserved, written, signed, result };
}

function outcomeText(outcome: OutcomeEntry): string {
  return outcome.effect === 'done' ? 'done' : `failed ${outcome.code}`;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('S16: around a signature', () => {
  it('a cost is on disk before hardware is asked, and the decision is written while hardware works', async () => {
    const { told, reserved, written, signed, result } = scene(true);
    await turn();
    expect(told).toEqual([]);
    reserved.resolve(undefined);
    await turn();
    expect([...told].sort()).toEqual(['decision r1', 'hardware']);
    signed.resolve(undefined);
    await turn();
    expect(told).toHaveLength(2);
    written.resolve(undefined);
    expect(await result).toBe(SIGNATURE);
    expect(told.slice(2)).toEqual(['committed', 'done']);
  });

  it('what costs nothing waits for nothing before hardware is asked', async () => {
    const { told, written, signed, result } = scene(false);
    expect([...told].sort()).toEqual(['decision free', 'hardware']);
    written.resolve(undefined);
    signed.resolve(undefined);
    expect(await result).toBe(SIGNATURE);
    expect(told.slice(2)).toEqual(['done']);
  });

  it('a cost that does not come to disk: hardware is not asked, and that is on record', async () => {
    const { told, reserved, written, result } = scene(true);
    reserved.reject(new KeydError('ledger_unavailable', 'the disk is gone'));
    written.resolve(undefined);
    expect(await codeOfAsync(() => result)).toBe('ledger_unavailable');
    expect(told).toEqual(['decision r1', 'released', 'failed ledger_unavailable']);
  });

  it('a decision that does not come to disk: what hardware signed is not released, and is spent', async () => {
    const { told, reserved, written, signed, result } = scene(true);
    reserved.resolve(undefined);
    signed.resolve(undefined);
    await turn();
    written.reject(new KeydError('audit_unavailable', 'the disk is gone'));
    expect(await codeOfAsync(() => result)).toBe('audit_unavailable');
    expect(told.slice(2)).toEqual(['committed']);
  });

  it('hardware that fails is on record, and what it may have signed is spent', async () => {
    const { told, reserved, written, signed, result } = scene(true);
    reserved.resolve(undefined);
    written.resolve(undefined);
    signed.reject(new KeydError('tpm_unavailable', 'the TPM is gone'));
    expect(await codeOfAsync(() => result)).toBe('tpm_unavailable');
    expect(told.slice(2)).toEqual(['committed', 'failed tpm_unavailable']);
  });
});
