/** One hash over every record of the ledger, whether it is still kept or not. */
import { hash } from 'node:crypto';
import { decodeBase64url, encodeBase64url } from '../wire/base64url.ts';

export class HashChain {
  #head: Uint8Array = new Uint8Array(32);

  add(record: Uint8Array): void {
    this.#head = hash('sha256', Buffer.concat([this.#head, record]), 'buffer');
  }

  /** Goes on from a head, base64url. */
  set(head: string): void {
    this.#head = decodeBase64url(head, 'the chain of a snapshot');
  }

  /** base64url SHA-256. */
  head(): string {
    return encodeBase64url(this.#head);
  }
}
