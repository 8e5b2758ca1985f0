/**
 * A thread of this process that verifies signatures (S17), so that the main thread has its time for requests.
 * What is asked in one turn goes over as one message: a hop costs more than a hash, and many share it.
 *
 *   question  ( uint32 key ‖ uint32 length of octets ‖ uint32 length of signature ‖ octets ‖ signature )*
 *   answer    uint8 per question, in order: 1 verifies, 0 does not
 */
import { Worker } from 'node:worker_threads';
import { siblingModule } from '../../base/sibling-module.ts';
import type { PublicJwk } from '../../wire/jwk.ts';

/** What the thread is sent: a key that later questions name by its number, or questions. */
export type ThreadMessage =
  { readonly key: number; readonly jwk: PublicJwk } | { readonly questions: Uint8Array<ArrayBuffer> };

export const QUESTION_HEADER_OCTETS = 12;

/** A key as this thread of the process knows it. */
export interface ThreadKey {
  readonly jwk: PublicJwk;
  /** The same arithmetic on the calling thread. */
  verifies(octets: Uint8Array, signature: Uint8Array): boolean;
}

interface Question {
  readonly key: ThreadKey;
  readonly octets: Uint8Array;
  readonly signature: Uint8Array;
  readonly resolve: (verifies: boolean) => void;
  readonly reject: (reason: unknown) => void;
}

export class VerificationThread {
  readonly #entry: URL;
  #worker: Worker | undefined;
  #numbers = new Map<ThreadKey, number>();
  #collected: Question[] = [];
  /** Batches that are with the thread, oldest first. */
  #asked: (readonly Question[])[] = [];
  #closed = false;

  /** @param entry the thread's program; tests put one in its place that dies */
  constructor(entry: URL = siblingModule(import.meta.url, './verification-worker')) {
    this.#entry = entry;
  }

  /** Whether `signature` is one of the key over `octets`; both are copied when this turn ends. */
  verifies(key: ThreadKey, octets: Uint8Array, signature: Uint8Array): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#collected.push({ key, octets, signature, resolve, reject });
    // After the continuations that the same octets from the module host have set off.
    if (this.#collected.length === 1)
      process.nextTick(() => {
        this.#ask();
      });
    return promise;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }

  #ask(): void {
    const batch = this.#collected;
    this.#collected = [];
    if (this.#closed) {
      answerHere(batch);
      return;
    }
    const worker = (this.#worker ??= this.#start());
    for (const { key } of batch) {
      if (this.#numbers.has(key)) continue;
      this.#numbers.set(key, this.#numbers.size);
      worker.postMessage({ key: this.#numbers.size - 1, jwk: key.jwk } satisfies ThreadMessage);
    }
    const questions = encode(batch, this.#numbers);
    this.#asked.push(batch);
    worker.postMessage({ questions } satisfies ThreadMessage, [questions.buffer]);
  }

  #start(): Worker {
    const worker = new Worker(this.#entry);
    worker.unref();
    worker.on('message', (answers: Uint8Array) => {
      // It has ended, and its questions were answered here: those that are asked now are its successor's.
      if (this.#worker !== worker) return;
      const [batch = []] = this.#asked.splice(0, 1);
      for (const [index, { resolve }] of batch.entries()) resolve(answers[index] === 1);
    });
    // What it was asked is answered here, and the next question starts another.
    const onEnd = (): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#numbers = new Map();
      for (const batch of this.#asked.splice(0)) answerHere(batch);
    };
    worker.on('error', onEnd);
    worker.on('exit', onEnd);
    return worker;
  }
}

function answerHere(batch: readonly Question[]): void {
  for (const { key, octets, signature, resolve, reject } of batch) {
    try {
      resolve(key.verifies(octets, signature));
    } catch (thrown) {
      reject(thrown);
    }
  }
}

function encode(
  batch: readonly Question[],
  numbers: ReadonlyMap<ThreadKey, number>,
): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const { octets, signature } of batch)
    size += QUESTION_HEADER_OCTETS + octets.length + signature.length;
  const encoded = new Uint8Array(size);
  const view = new DataView(encoded.buffer);
  let at = 0;
  for (const { key, octets, signature } of batch) {
    view.setUint32(at, numbers.get(key) ?? 0);
    view.setUint32(at + 4, octets.length);
    view.setUint32(at + 8, signature.length);
    encoded.set(octets, at + QUESTION_HEADER_OCTETS);
    at += QUESTION_HEADER_OCTETS + octets.length;
    encoded.set(signature, at);
    at += signature.length;
  }
  return encoded;
}
