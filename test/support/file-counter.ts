/** A counter in a file outside of the ledger's directory: what a TPM's is to it. The TPM itself: test/integration/tpm. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { EpochCounter } from '../../src/ledger/epoch-counter.ts';
import { KeydError } from '../../src/wire/problem.ts';

export class FileCounter implements EpochCounter {
  readonly #file: string;
  readonly #fault: (step: 'advance' | 'advanced') => void;
  readonly isNew: boolean;

  constructor(file: string, fault: (step: 'advance' | 'advanced') => void = () => undefined) {
    this.#file = file;
    this.#fault = fault;
    this.isNew = !existsSync(file);
    if (this.isNew) this.#set(7n);
  }

  read(): Promise<bigint> {
    return Promise.resolve(BigInt(readFileSync(this.#file, 'utf8')));
  }

  async advance(expected: bigint, bound: Uint8Array) {
    const value = await this.read();
    if (value !== expected) throw new KeydError('ledger_rolled_back', 'the counter is elsewhere');
    this.#fault('advance');
    this.#set(value + 1n);
    this.#fault('advanced');
    return { value: value + 1n, attest: new Uint8Array(), signature: new Uint8Array(), bound };
  }

  adopt(): Promise<bigint> {
    return this.read();
  }

  /** At once: it is never half way. */
  #set(value: bigint): void {
    writeFileSync(`${this.#file}.new`, String(value));
    renameSync(`${this.#file}.new`, this.#file);
  }
}
