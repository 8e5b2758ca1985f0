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

function decode(document: Uint8Array | string, limits: StrictJsonLimits): string {
  const octets = typeof document === 'string' ? Buffer.byteLength(document, 'utf8') : document.length;
  if (octets > limits.maxOctets) fail(`the document is longer than ${limits.maxOctets} octets`, undefined);
  let text: string;
  if (typeof document === 'string') {
    text = document;
  } else {
    try {
      // ignoreBOM keeps a byte order mark in the text, where it is then refused.
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(document);
    } catch {
      return fail('the octets are not UTF-8', undefined);
    }
  }
  if (text.startsWith('\uFEFF')) fail('a byte order mark is not allowed', 0);
  if (!text.isWellFormed()) fail('the text has a lone surrogate', undefined);
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
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#fail('this begins no JSON value');
  }

  #object(depth: number): unknown {
    this.#at += 1;
    const members = new Map<string, unknown>();
    this.#space();
    if (this.#text[this.#at] === '}') {
      this.#at += 1;
      return {};
    }
    for (;;) {
      const position = this.#at;
      if (this.#text[position] !== '"') this.#fail('a member name is missing');
      const name = this.#string();
      if (members.has(name))
        this.#fail(`the member ${JSON.stringify(shorten(name))} is there twice`, position);
      this.#space();
      this.#expect(':');
      this.#space();
      members.set(name, this.#value(depth));
      this.#space();
      if (this.#text[this.#at] === '}') break;
      this.#expect(',');
      this.#space();
    }
    this.#at += 1;
    // fromEntries defines own members, so that "__proto__" is data like any other name.
    return Object.fromEntries(members);
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
    this.#at += 1;
    let value = '';
    let runStart = this.#at;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (Number.isNaN(code)) this.#fail('a string does not end', start);
      if (code < 0x20) this.#fail('a control character in a string must be escaped');
      if (code !== 0x22 && code !== 0x5c) {
        this.#at += 1;
        continue;
      }
      value += this.#text.slice(runStart, this.#at);
      this.#at += 1;
      if (code === 0x22) break;
      value += this.#escape();
      runStart = this.#at;
    }
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
