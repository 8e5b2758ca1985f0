/**
 * Reading and writing marshalled TPM structures (Part 2 §4: big-endian, TPM2B = 16-bit length and
 * octets). The reader never looks past its input and never leaves octets over.
 */
import { KeydError } from '../problem.ts';
import { hashNameOf, HASHES, type HashName } from './constants.ts';

/** A bounds-checked reader over one structure; every method throws KeydError `malformed_structure`. */
export class TpmReader {
  readonly #octets: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #offset = 0;

  /** @param what the structure's name in the specification, for messages */
  constructor(octets: Uint8Array, what: string) {
    this.#octets = octets;
    this.#view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    this.#what = what;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8));
  }

  /** `count` octets, copied. */
  octets(count: number): Uint8Array {
    const start = this.#advance(count);
    // Not `slice`, which for a Buffer is a view.
    return new Uint8Array(this.#octets.subarray(start, start + count));
  }

  /** The octets of a TPM2B of at most `max` octets, copied. */
  tpm2b(max: number, field: string): Uint8Array {
    const length = this.u16();
    if (length > max) this.fail(`${field} has ${length} octets; at most ${max} are allowed`);
    return this.octets(length);
  }

  /** TPMI_ALG_HASH. */
  hash(field: string): HashName {
    const id = this.u16();
    return hashNameOf(id) ?? this.fail(`${field} is the unknown hash algorithm ${hex(id)}`);
  }

  /** Refuses octets after the structure. */
  end(): void {
    const over = this.#octets.length - this.#offset;
    if (over > 0) this.fail(`${over} octets follow it`);
  }

  fail(reason: string): never {
    throw new KeydError('malformed_structure', `${this.#what}: ${reason}`);
  }

  #advance(count: number): number {
    const start = this.#offset;
    if (start + count > this.#octets.length) {
      this.fail(`ends after ${this.#octets.length} octets, ${start + count} are needed`);
    }
    this.#offset = start + count;
    return start;
  }
}

/** Builds one structure; lengths that do not fit throw KeydError `malformed_structure`. */
export class TpmWriter {
  readonly #parts: Buffer[] = [];

  u8(value: number): this {
    return this.#integer(value, 1);
  }

  u16(value: number): this {
    return this.#integer(value, 2);
  }

  u32(value: number): this {
    return this.#integer(value, 4);
  }

  u64(value: bigint): this {
    if (value < 0n || value >= 1n << 64n)
      throw new KeydError('malformed_structure', 'a UINT64 is out of range');
    const part = Buffer.alloc(8);
    part.writeBigUInt64BE(value);
    this.#parts.push(part);
    return this;
  }

  octets(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value));
    return this;
  }

  tpm2b(value: Uint8Array): this {
    return this.u16(value.length).octets(value);
  }

  hash(name: HashName): this {
    return this.u16(HASHES[name].id);
  }

  toOctets(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }

  #integer(value: number, octets: 1 | 2 | 4): this {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * octets)) {
      throw new KeydError('malformed_structure', `${value} does not fit in ${octets} octets`);
    }
    const part = Buffer.alloc(octets);
    part.writeUIntBE(value, 0, octets);
    this.#parts.push(part);
    return this;
  }
}

/** `0x000b` */
export function hex(value: number, digits = 4): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** Octet-wise equality of public values; secrets are compared with `timingSafeEqual`. */
export function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
