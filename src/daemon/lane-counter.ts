/**
 * The TPM's counter under the ledger's epochs and the issuer's evidence. Its commands wait their turn in the TPM's
 * lane as the daemon's own work, increment and certificate in one place of it (S20).
 */
import type {
  CertifiedCounter,
  CounterMemory,
  CounterReading,
  MonotonicCounter,
} from '../backend/counter.ts';
import type { AnchorProof, EpochCounter } from '../ledger/epoch-counter.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import { ownAnchorData } from '../wire/audit-anchor.ts';
import { KeydError } from '../wire/problem.ts';
import { internalTurn } from './queued-backend.ts';

/** What status tells of the counter. */
export interface CounterFacts {
  /** `0x0180a6e7`. */
  readonly index: string;
  readonly value: string;
  /** Increments in a year, at the rate since it was made (an hour at least). */
  readonly writesPerYear: number;
}

const HOUR_MS = 3_600_000;
const YEAR_HOURS = 8766;

export class LaneCounter implements EpochCounter {
  readonly #counter: MonotonicCounter;
  readonly #memory: CounterMemory;
  readonly #turn: <T>(work: () => Promise<T>) => Promise<T>;
  /** As last read. */
  #reading: CounterReading | undefined;
  /** As last seen, by whichever command. */
  #value = 0n;

  constructor(lane: HardwareLane, counter: MonotonicCounter, memory: CounterMemory) {
    this.#counter = counter;
    this.#memory = memory;
    this.#turn = internalTurn(lane);
  }

  get isNew(): boolean {
    return this.#reading?.isNew ?? false;
  }

  async read(): Promise<bigint> {
    return (await this.#read()).value;
  }

  async advance(expected: bigint, bound: Uint8Array): Promise<AnchorProof> {
    const { value, attest, signature } = await this.#turn(async () => {
      await this.#counter.increment(expected);
      return this.#counter.certify(ownAnchorData(bound));
    });
    if (value !== expected + 1n) {
      throw new KeydError(
        'ledger_rolled_back',
        `the TPM’s counter went on to ${value}: somebody else moved it`,
      );
    }
    this.#value = value;
    return { value, attest, signature, bound };
  }

  async adopt(): Promise<bigint> {
    return this.#keep(await this.#turn(() => this.#counter.adopt())).value;
  }

  /** TPM2_NV_Certify, for the issuer. */
  certify(extraData: Uint8Array): Promise<CertifiedCounter> {
    return this.#turn(() => this.#counter.certify(extraData));
  }

  /** TPMS_NV_PUBLIC of the counter. @throws KeydError those of the TPM */
  async nvPublic(): Promise<Uint8Array> {
    return (await this.#read()).nvPublic;
  }

  /** Undefined until it was read. */
  async facts(nowMs: number): Promise<CounterFacts | undefined> {
    const known = await this.#memory.load();
    if (known === undefined || this.#reading === undefined) return undefined;
    const hours = Math.max(HOUR_MS, nowMs - known.sinceMs) / HOUR_MS;
    const increments = Number(this.#value - BigInt(known.sinceValue ?? this.#value));
    return {
      index: `0x${known.nvIndex.toString(16).padStart(8, '0')}`,
      value: String(this.#value),
      writesPerYear: Math.round((increments / hours) * YEAR_HOURS),
    };
  }

  async #read(): Promise<CounterReading> {
    return this.#keep(await this.#turn(() => this.#counter.read()));
  }

  #keep(reading: CounterReading): CounterReading {
    this.#reading = reading;
    this.#value = reading.value;
    return reading;
  }
}
