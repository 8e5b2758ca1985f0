/**
 * Strict JSON (RFC 8259, I-JSON RFC 7493): what two parsers could read differently is an error. Duplicate
 * members, lone surrogates, a byte order mark, invalid UTF-8 and numbers that a double would change are refused.
 */
import { ExactNumber } from './exact-number.ts';
import { KeydError } from './problem.ts';

export interface StrictJsonLimits {
  /** Arrays and objects inside one another; the outermost is 1. */
  readonly maxDepth: number;
  /** UTF-8 octets of the document. */
  readonly maxOctets: number;
}

/** A JSON value whose numbers are exactly what was written. */
export type ExactJson =
  null | boolean | string | ExactNumber | readonly ExactJson[] | { readonly [member: string]: ExactJson };

/**
 * A JSON document, from UTF-8 octets or text, with JavaScript numbers. Numbers that a double can not carry
 * unchanged (and -0) are refused.
 * @throws KeydError `malformed_json` naming the character position
 */
export function parseStrictJson(document: Uint8Array | string, limits: StrictJsonLimits): unknown {
  return new Parser<unknown>(decode(document, limits), limits.maxDepth, (number, position) => {
    const value = number.toNumber();
    if (value === undefined)
      fail(`the number ${shorten(number.text)} would be changed by a double`, position);
    return value;
  }).document();
}

/**
 * A JSON document with every number as the exact decimal it was written as, for policy (S7).
 * @throws KeydError `malformed_json` naming the character position
 */
export function parseExactJson(document: Uint8Array | string, limits: StrictJsonLimits): ExactJson {
  const parser = new Parser<ExactJson>(decode(document, limits), limits.maxDepth, (number) => number);
  return parser.document() as ExactJson;
}

/** ignoreBOM keeps a byte order mark in the text, where it is then refused. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Well-formed text; what comes as UTF-8 is so already. */
function decode(document: Uint8Array | string, limits: StrictJsonLimits): string {
  const octets = typeof document === 'string' ? Buffer.byteLength(document, 'utf8') : document.length;
  if (octets > limits.maxOctets) fail(`the document is longer than ${limits.maxOctets} octets`, undefined);
  let text: string;
  if (typeof document === 'string') {
    text = document;
  } else {
    try {
      text = UTF8.decode(document);
    } catch {
      return fail('the octets are not UTF-8', undefined);
    }
  }
  if (text.startsWith('\uFEFF')) fail('a byte order mark is not allowed', 0);
  if (text === document && !text.isWellFormed()) fail('the text has a lone surrogate', undefined);
  return text;
}

function fail(reason: string, position: number | undefined): never {
  const where = position === undefined ? '' : ` at character ${position}`;
  throw new KeydError('malformed_json', `${reason}${where}`);
}

function shorten(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}...`;
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** An own member of any name: "__proto__" is data like every other. */
function define(members: Record<string, unknown>, name: string, value: unknown): void {
  if (name === '__proto__') {
    Object.defineProperty(members, name, { value, writable: true, enumerable: true, configurable: true });
  } else {
    members[name] = value;
  }
}

class Parser<N> {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #number: (number: ExactNumber, position: number) => N;
  #at = 0;

  constructor(text: string, maxDepth: number, number: (number: ExactNumber, position: number) => N) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#number = number;
  }

  document(): unknown {
    this.#space();
    const value = this.#value(0);
    this.#space();
    if (this.#at < this.#text.length) this.#fail('there is more after the value');
    return value;
  }

  #fail(reason: string, position = this.#at): never {
    return fail(reason, position);
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) return;
      this.#at += 1;
    }
  }

  #expect(character: string): void {
    if (this.#text[this.#at] !== character) this.#fail(`"${character}" is missing`);
    this.#at += 1;
  }

  #value(depth: number): unknown {
    const character = this.#text[this.#at];
    if (character === undefined) return this.#fail('the document ends too soon');
    if (character === '{' || character === '[') {
      if (depth >= this.#maxDepth) this.#fail(`nesting is deeper than ${this.#maxDepth}`);
      return character === '{' ? this.#object(depth + 1) : this.#array(depth + 1);
    }
    if (character === '"') return this.#string();
    if (character === '-' || (character >= '0' && character <= '9')) return this.#numberValue();
    if (this.#word('true')) return true;
    if (this.#word('false')) return false;
    if (this.#word('null')) return null;
    return this.#fail('this begins no JSON value');
  }

  #word(word: string): boolean {
    const isNext = this.#text.startsWith(word, this.#at);
    if (isNext) this.#at += word.length;
    return isNext;
  }

  #object(depth: number): unknown {
    this.#at += 1;
    const members: Record<string, unknown> = {};
    this.#space();
    if (this.#text[this.#at] === '}') {
      this.#at += 1;
      return members;
    }
    for (;;) {
      const position = this.#at;
      if (this.#text[position] !== '"') this.#fail('a member name is missing');
      const name = this.#string();
      if (Object.hasOwn(members, name))
        this.#fail(`the member ${JSON.stringify(shorten(name))} is there twice`, position);
      this.#space();
      this.#expect(':');
      this.#space();
      define(members, name, this.#value(depth));
      this.#space();
      if (this.#text[this.#at] === '}') break;
      this.#expect(',');
      this.#space();
    }
    this.#at += 1;
    return members;
  }

  #array(depth: number): unknown {
    this.#at += 1;
    const items: unknown[] = [];
    this.#space();
    if (this.#text[this.#at] === ']') {
      this.#at += 1;
      return items;
    }
    for (;;) {
      items.push(this.#value(depth));
      this.#space();
      if (this.#text[this.#at] === ']') break;
      this.#expect(',');
      this.#space();
    }
    this.#at += 1;
    return items;
  }

  #string(): string {
    const start = this.#at;
    const end = this.#endOfRun(start + 1, start);
    this.#at = end + 1;
    const run = this.#text.slice(start + 1, end);
    return this.#text[end] === '"' ? run : this.#escapedString(start, run);
  }

  /** Where the characters from `at` on that stand for themselves end, in a string that began at `start`. */
  #endOfRun(at: number, start: number): number {
    const text = this.#text;
    for (let end = at; end < text.length; end += 1) {
      const code = text.charCodeAt(end);
      if (code === 0x22 || code === 0x5c) return end;
      if (code < 0x20) this.#fail('a control character in a string must be escaped', end);
    }
    return this.#fail('a string does not end', start);
  }

  /** The rest of a string after its first run and a backslash. */
  #escapedString(start: number, run: string): string {
    let value = run;
    for (;;) {
      value += this.#escape();
      const end = this.#endOfRun(this.#at, start);
      value += this.#text.slice(this.#at, end);
      this.#at = end + 1;
      if (this.#text[end] === '"') break;
    }
    // Only escapes can bring one into a text that has none.
    if (!value.isWellFormed()) this.#fail('a string has a lone surrogate', start);
    return value;
  }

  #escape(): string {
    const character = this.#text[this.#at];
    if (character === 'u') {
      const hex = this.#text.slice(this.#at + 1, this.#at + 5);
      if (!/^[0-9A-Fa-f]{4}$/.test(hex)) this.#fail('a \\u escape needs four hex digits');
      this.#at += 5;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    const plain = character === undefined ? undefined : ESCAPES.get(character);
    if (plain === undefined) return this.#fail('this is no JSON escape');
    this.#at += 1;
    return plain;
  }

  #numberValue(): N {
    const start = this.#at;
    while (/[-+.0-9eE]/.test(this.#text[this.#at] ?? '')) this.#at += 1;
    const text = this.#text.slice(start, this.#at);
    const number = ExactNumber.from(text);
    if (number === undefined) return this.#fail(`${shorten(text)} is no JSON number`, start);
    return this.#number(number, start);
  }
}
