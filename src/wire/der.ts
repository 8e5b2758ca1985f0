/**
 * Distinguished Encoding Rules (X.690 §10): a strict reader and a writer for the few types that keys, CSRs
 * and certificates need. Only what DER has exactly one spelling for is read: definite minimal lengths,
 * low tag numbers, minimal integers and arcs. The caller walks the structure, so no input can recurse.
 */
import { KeydError } from './problem.ts';

/** Identifier octets (X.690 §8.1.2), universal class. */
export const DER_TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

const CONSTRUCTED = 0x20;
const CONTEXT_CLASS = 0x80;
const HIGH_TAG_NUMBER = 0x1f;
// 16 MiB: more than anything here has, and shifts stay exact.
const MAX_LENGTH_OCTETS = 3;

/** Identifier octet of context tag `[number]`; constructed unless told otherwise. */
export function contextTag(number: number, constructed = true): number {
  return CONTEXT_CLASS | (constructed ? CONSTRUCTED : 0) | number;
}

/** One element: its identifier octet, its content, and the whole of it as encoded. All views, no copies. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly encoded: Uint8Array;
}

export interface DerBitString {
  readonly octets: Uint8Array;
  /** Bits at the end of the last octet that do not count, 0 to 7; DER has them zero. */
  readonly unusedBits: number;
}

/** Reads the elements of one structure in order. Every method throws KeydError `malformed_structure`. */
export class DerReader {
  readonly #octets: Uint8Array;
  readonly #what: string;
  #offset = 0;

  /** @param what names the structure in errors */
  constructor(octets: Uint8Array, what: string) {
    this.#octets = octets;
    this.#what = what;
  }

  get atEnd(): boolean {
    return this.#offset === this.#octets.length;
  }

  /** Refuses whatever has not been read. */
  end(): void {
    if (!this.atEnd) this.fail(`has ${this.#octets.length - this.#offset} trailing octets`);
  }

  /** Whether the next element has this identifier octet. */
  nextIs(tag: number): boolean {
    return this.#octets[this.#offset] === tag;
  }

  /** The next element; with `tag`, only if it has that identifier octet. */
  element(tag?: number): DerElement {
    const start = this.#offset;
    const found = this.#octet();
    if ((found & HIGH_TAG_NUMBER) === HIGH_TAG_NUMBER) this.fail('has a tag number above 30');
    if (tag !== undefined && found !== tag) this.fail(`has tag ${hex(found)} where ${hex(tag)} belongs`);
    const length = this.#length();
    const content = this.#octets.subarray(this.#offset, this.#offset + length);
    if (content.length !== length) this.fail('is truncated');
    this.#offset += length;
    return { tag: found, content, encoded: this.#octets.subarray(start, this.#offset) };
  }

  /** The content of the next element, which must be constructed with `tag`, as a reader of its own. */
  within(tag: number): DerReader {
    return new DerReader(this.element(tag).content, this.#what);
  }

  sequence(): DerReader {
    return this.within(DER_TAG.sequence);
  }

  set(): DerReader {
    return this.within(DER_TAG.set);
  }

  boolean(): boolean {
    const { content } = this.element(DER_TAG.boolean);
    const value = content[0];
    if (content.length !== 1 || (value !== 0x00 && value !== 0xff))
      this.fail('has a BOOLEAN that is not DER');
    return value === 0xff;
  }

  /** Signed, of any size. */
  integer(tag: number = DER_TAG.integer): bigint {
    const { content } = this.element(tag);
    const [first, second] = content;
    if (first === undefined) return this.fail('has an empty INTEGER');
    if (second !== undefined && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80))) {
      this.fail('has an INTEGER that is not minimal');
    }
    return BigInt.asIntN(content.length * 8, BigInt(`0x${Buffer.from(content).toString('hex')}`));
  }

  /** An INTEGER from 0 to `max`, at most 2^53 - 1. */
  smallInteger(max: number): number {
    const value = this.integer();
    if (value < 0n || value > BigInt(max)) this.fail(`has an INTEGER outside 0 to ${max}`);
    return Number(value);
  }

  octetString(): Uint8Array {
    return this.element(DER_TAG.octetString).content;
  }

  bitString(): DerBitString {
    const { content } = this.element(DER_TAG.bitString);
    const unusedBits = content[0];
    const last = content.at(-1);
    if (unusedBits === undefined || last === undefined || unusedBits > 7)
      return this.fail('has a malformed BIT STRING');
    const padding = content.length === 1 ? unusedBits : last & ((1 << unusedBits) - 1);
    if (padding !== 0) this.fail('has a BIT STRING with padding bits set');
    return { octets: content.subarray(1), unusedBits };
  }

  null(): void {
    if (this.element(DER_TAG.null).content.length !== 0) this.fail('has a NULL with content');
  }

  /** Dotted decimal. */
  oid(): string {
    const { content } = this.element(DER_TAG.oid);
    const arcs: bigint[] = [];
    let arc = 0n;
    let fresh = true;
    for (const octet of content) {
      if (fresh && octet === 0x80) this.fail('has an OBJECT IDENTIFIER that is not minimal');
      arc = (arc << 7n) | BigInt(octet & 0x7f);
      fresh = octet < 0x80;
      if (!fresh) continue;
      arcs.push(arc);
      arc = 0n;
    }
    const [first, ...rest] = arcs;
    if (first === undefined || !fresh) return this.fail('has a malformed OBJECT IDENTIFIER');
    const root = first < 80n ? first / 40n : 2n;
    return [root, first - root * 40n, ...rest].join('.');
  }

  utf8String(): string {
    return (
      decodeUtf8(this.element(DER_TAG.utf8String).content) ?? this.fail('has a UTF8String that is not UTF-8')
    );
  }

  fail(reason: string): never {
    throw new KeydError('malformed_structure', `${this.#what} ${reason}`);
  }

  #octet(): number {
    const octet = this.#octets[this.#offset];
    if (octet === undefined) return this.fail('is truncated');
    this.#offset += 1;
    return octet;
  }

  #length(): number {
    const first = this.#octet();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0) this.fail('has an indefinite length');
    if (count > MAX_LENGTH_OCTETS) this.fail('has a length above 16 MiB');
    let length = 0;
    for (let read = 0; read < count; read++) length = (length << 8) | this.#octet();
    if (length < 0x80 || length < 1 << (8 * (count - 1))) this.fail('has a length that is not minimal');
    return length;
  }
}

/** Reads one element that fills `octets`. @throws KeydError `malformed_structure` */
export function readWhole<T>(octets: Uint8Array, what: string, read: (reader: DerReader) => T): T {
  const reader = new DerReader(octets, what);
  const result = read(reader);
  reader.end();
  return result;
}

/** An element from its identifier octet and the parts of its content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag, ...encodeLength(body.length)]), body]);
}

export function derSequence(...elements: readonly Uint8Array[]): Uint8Array {
  return der(DER_TAG.sequence, ...elements);
}

/** SET OF: DER sorts its elements by their encoding (X.690 §11.6). */
export function derSetOf(...elements: readonly Uint8Array[]): Uint8Array {
  return der(DER_TAG.set, ...elements.toSorted((a, b) => Buffer.compare(a, b)));
}

export function derInteger(value: bigint | number): Uint8Array {
  const integer = BigInt(value);
  let octets = 1;
  while (BigInt.asIntN(octets * 8, integer) !== integer) octets += 1;
  const digits = BigInt.asUintN(octets * 8, integer).toString(16);
  return der(DER_TAG.integer, Buffer.from(digits.padStart(octets * 2, '0'), 'hex'));
}

export function derBoolean(value: boolean): Uint8Array {
  return der(DER_TAG.boolean, Buffer.from([value ? 0xff : 0x00]));
}

export function derNull(): Uint8Array {
  return der(DER_TAG.null);
}

export function derOctetString(octets: Uint8Array): Uint8Array {
  return der(DER_TAG.octetString, octets);
}

export function derBitString(octets: Uint8Array, unusedBits = 0): Uint8Array {
  return der(DER_TAG.bitString, Buffer.from([unusedBits]), octets);
}

export function derUtf8String(text: string): Uint8Array {
  return der(DER_TAG.utf8String, Buffer.from(text, 'utf8'));
}

/** From dotted decimal; arcs of any size (2.25.<uuid>). @throws KeydError `malformed_structure` */
export function derOid(dotted: string): Uint8Array {
  if (!/^(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]*))(?:\.(?:0|[1-9][0-9]*))*$/.test(dotted)) {
    throw new KeydError('malformed_structure', `${dotted} is not an object identifier`);
  }
  const [root = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt);
  return der(DER_TAG.oid, ...[root * 40n + second, ...rest].map(encodeArc));
}

/** UTF-8 text, or undefined where the octets are none. */
export function decodeUtf8(octets: Uint8Array): string | undefined {
  const text = Buffer.from(octets).toString('utf8');
  return Buffer.from(text, 'utf8').equals(octets) ? text : undefined;
}

function encodeArc(arc: bigint): Uint8Array {
  const septets = [Number(arc & 0x7fn)];
  for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) septets.unshift(Number(rest & 0x7fn) | 0x80);
  return Uint8Array.from(septets);
}

function encodeLength(length: number): readonly number[] {
  if (length < 0x80) return [length];
  if (length <= 0xff) return [0x81, length];
  if (length <= 0xffff) return [0x82, length >> 8, length & 0xff];
  if (length <= 0xffffff) return [0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  throw new KeydError('malformed_structure', 'a DER element is limited to 16 MiB');
}

function hex(octet: number): string {
  return `0x${octet.toString(16).padStart(2, '0')}`;
}
