/**
 * A TPM as slow as a discrete one: a relay in front of swtpm that holds every TPM2_Sign until it has taken its
 * time. All else passes as fast as swtpm answers.
 */
import { commandCode, startTpmRelay, type TpmRelay, type TpmRelayOptions } from './tpm-relay.ts';

export interface SlowTpm extends TpmRelay {
  /** TPM2_Sign commands that have come so far. */
  readonly signs: number;
}

export interface SlowTpmOptions extends Omit<TpmRelayOptions, 'onCommand'> {
  /** Is called when a TPM2_Sign has come; its response leaves once this has resolved. */
  readonly hold: () => Promise<void>;
}

/** TPM 2.0 Part 2, 6.5.2. */
const TPM_CC_SIGN = 0x0000015d;
/** What a timer may be late by; the rest of a hold is waited for in turns of the event loop. */
const TIMER_SLACK_MS = 1.5;

export async function startSlowTpm({ hold, ...sockets }: SlowTpmOptions): Promise<SlowTpm> {
  let signs = 0;
  const relay = await startTpmRelay({
    ...sockets,
    onCommand: (command) => {
      if (commandCode(command) !== TPM_CC_SIGN) return undefined;
      signs += 1;
      const held = hold();
      return { command, answer: (response) => held.then(() => response) };
    },
  });
  return {
    ...relay,
    get signs() {
      return signs;
    },
  };
}

/** From a TPM2_Sign to its response, in milliseconds; a discrete TPM takes 10 to 150. */
export function lasting(signMs: number): () => Promise<void> {
  return () =>
    new Promise((resolve) => {
      at(performance.now() + signMs, resolve);
    });
}

function at(dueMs: number, act: () => void): void {
  const leftMs = dueMs - performance.now();
  if (leftMs <= 0) act();
  else if (leftMs <= TIMER_SLACK_MS) {
    setImmediate(() => {
      at(dueMs, act);
    });
  } else {
    setTimeout(() => {
      at(dueMs, act);
    }, leftMs - TIMER_SLACK_MS);
  }
}
