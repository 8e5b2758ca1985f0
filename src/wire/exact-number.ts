/** Decimal numbers as they were written: nothing is rounded (S7: `JSON.parse` turns 3000.0000000000001 into 3000). */

/** A JSON number by value: (-1)^negative x digits x 10^exponent; zero has the digits "0" and exponent 0. */
interface DecimalParts {
  readonly negative: boolean;
  /** No leading and no trailing zero, except for zero itself. */
  readonly digits: string;
  readonly exponent: number;
}

/** RFC 8259 §6; groups: minus, integer, fraction, exponent. */
const NUMBER = /^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$/;
/** More digits than any amount needs; bounds the work below. */
const MAX_SCALED_DIGITS = 40;

function decimalParts(text: string): DecimalParts | undefined {
  const match = NUMBER.exec(text);
  if (match === null) return undefined;
  const [, minus, whole = '', fraction = '', exponentText = '0'] = match;
  const all = whole + fraction;
  const withoutTrailing = trimTrailingZeros(all);
  const digits = withoutTrailing.replace(/^0+/, '');
  const exponent = Number(exponentText) - fraction.length + (all.length - withoutTrailing.length);
  return digits === ''
    ? { negative: minus === '-', digits: '0', exponent: 0 }
    : { negative: minus === '-', digits, exponent };
}

// A regular expression `0+$` backtracks quadratically on long runs of zeros inside the text.
function trimTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === 0x30) end -= 1;
  return digits.slice(0, end);
}

/** A JSON number kept exactly as written; made by `parseExactJson` only from valid number text. */
export class ExactNumber {
  /** As in the document, e.g. `3000.10` or `-1E5`. */
  readonly text: string;
  readonly #parts: DecimalParts;

  private constructor(text: string, parts: DecimalParts) {
    this.text = text;
    this.#parts = parts;
  }

  /** Undefined unless `text` is a JSON number (RFC 8259 §6). */
  static from(text: string): ExactNumber | undefined {
    const parts = decimalParts(text);
    return parts === undefined ? undefined : new ExactNumber(text, parts);
  }

  /** Below zero, or a zero written with a minus sign. */
  get negative(): boolean {
    return this.#parts.negative;
  }

  get isNegativeZero(): boolean {
    return this.#parts.negative && this.#parts.digits === '0';
  }

  /** The same value, however it is written: `1e1`, `10` and `10.0` are equal; 0 and -0 are not. */
  equals(other: ExactNumber): boolean {
    return (
      this.#parts.negative === other.#parts.negative &&
      this.#parts.digits === other.#parts.digits &&
      this.#parts.exponent === other.#parts.exponent
    );
  }

  /**
   * The value times 10^places as an integer, or undefined where it has more decimal places than that,
   * is -0, or would need more than 40 digits.
   */
  scaled(places: number): bigint | undefined {
    if (this.isNegativeZero) return undefined;
    const shift = this.#parts.exponent + places;
    if (this.#parts.digits === '0') return 0n;
    if (shift < 0 || this.#parts.digits.length + shift > MAX_SCALED_DIGITS) return undefined;
    const magnitude = BigInt(this.#parts.digits + '0'.repeat(shift));
    return this.#parts.negative ? -magnitude : magnitude;
  }

  /**
   * As a JavaScript number whose shortest decimal form has this very value; undefined where rounding
   * would change it, for integers beyond 2^53-1, and for -0.
   */
  toNumber(): number | undefined {
    if (this.isNegativeZero) return undefined;
    const value = Number(this.text);
    if (!Number.isFinite(value)) return undefined;
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) return undefined;
    const back = ExactNumber.from(String(value));
    return back?.equals(this) === true ? value : undefined;
  }
}
