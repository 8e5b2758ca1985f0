/**
 * Structured Field dictionaries (RFC 9651 §4.2), read strictly: only the types that signatures use, each key
 * and parameter once (the RFC lets the last one win), and only the canonical spelling, so that what was parsed
 * serializes to the octets that came in.
 */
import { KeydError } from './problem.ts';
import {
  serializeInnerList,
  serializeItem,
  serializeMember,
  SfToken,
  type SfBareItem,
  type SfItem,
  type SfParameters,
} from './structured-fields.ts';

export interface SfInnerList {
  readonly items: readonly SfItem[];
  readonly parameters: SfParameters;
}

export type SfMember = SfItem | SfInnerList;

const MAX_LENGTH = 32_768;
const MAX_MEMBERS = 16;
const MAX_ITEMS = 64;
const MAX_PARAMETERS = 32;

export function isInnerList(member: SfMember): member is SfInnerList {
  return 'items' in member;
}

/**
 * The members of a dictionary field, in order.
 * @param what the field's name, for errors
 * @throws KeydError `invalid_header` for anything malformed, repeated or not in canonical form
 */
export function parseSfDictionary(text: string, what: string): ReadonlyMap<string, SfMember> {
  if (text.length > MAX_LENGTH) refuse(what, `is longer than ${MAX_LENGTH} characters`);
  const members = new DictionaryParser(text, what).parse();
  const canonical = [...members].map(([key, member]) => serializeMember(key, serialize(member))).join(', ');
  if (canonical !== text) refuse(what, 'is not in the canonical form of RFC 9651 §4.1');
  return members;
}

function serialize(member: SfMember): string {
  return isInnerList(member) ? serializeInnerList(member.items, member.parameters) : serializeItem(member);
}

function refuse(what: string, reason: string): never {
  throw new KeydError('invalid_header', `${what} ${reason}`);
}

class DictionaryParser {
  readonly #text: string;
  readonly #what: string;
  #at = 0;

  constructor(text: string, what: string) {
    this.#text = text;
    this.#what = what;
  }

  parse(): ReadonlyMap<string, SfMember> {
    const members = new Map<string, SfMember>();
    for (;;) {
      const key = this.#match(/[a-z*][a-z0-9_\-.*]*/y, 'a key');
      if (members.has(key)) this.#fail(`has the key ${key} twice`);
      if (members.size === MAX_MEMBERS) this.#fail(`has more than ${MAX_MEMBERS} members`);
      this.#match(/=/y, '"="');
      members.set(key, this.#text[this.#at] === '(' ? this.#innerList() : this.#item());
      if (this.#at === this.#text.length) return members;
      this.#match(/, /y, '", " and another member');
    }
  }

  #innerList(): SfInnerList {
    const items: SfItem[] = [];
    this.#at += 1;
    while (this.#text[this.#at] !== ')') {
      if (items.length > 0) this.#match(/ /y, 'one space or ")"');
      if (items.length === MAX_ITEMS) this.#fail(`has an inner list of more than ${MAX_ITEMS} items`);
      items.push(this.#item());
    }
    this.#at += 1;
    return { items, parameters: this.#parameters() };
  }

  #item(): SfItem {
    return { value: this.#bareItem(), parameters: this.#parameters() };
  }

  #parameters(): SfParameters {
    const parameters = new Map<string, SfBareItem>();
    while (this.#text[this.#at] === ';') {
      this.#at += 1;
      const key = this.#match(/[a-z*][a-z0-9_\-.*]*/y, 'a parameter name');
      if (parameters.has(key)) this.#fail(`has the parameter ${key} twice`);
      if (parameters.size === MAX_PARAMETERS)
        this.#fail(`has more than ${MAX_PARAMETERS} parameters in one place`);
      let value: SfBareItem = true;
      if (this.#text[this.#at] === '=') {
        this.#at += 1;
        value = this.#bareItem();
      }
      parameters.set(key, value);
    }
    return [...parameters];
  }

  #bareItem(): SfBareItem {
    const first = this.#text[this.#at] ?? '';
    if (first === '"') {
      const quoted = this.#match(/"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/y, 'a whole string');
      return quoted.slice(1, -1).replace(/\\(.)/g, '$1');
    }
    if (first === ':') {
      const base64 = this.#match(/:[A-Za-z0-9+/]*={0,2}:/y, 'a whole byte sequence').slice(1, -1);
      return new Uint8Array(Buffer.from(base64, 'base64'));
    }
    if (first === '?') return this.#match(/\?[01]/y, 'a boolean') === '?1';
    if (/[-0-9]/.test(first))
      return Number(this.#match(/-?[0-9]{1,15}(?![0-9.])/y, 'an integer of at most 15 digits'));
    return new SfToken(this.#match(/[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*/y, 'an item of a known type'));
  }

  #match(pattern: RegExp, expected: string): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) return this.#fail(`lacks ${expected} at character ${this.#at}`);
    this.#at += found.length;
    return found;
  }

  #fail(reason: string): never {
    return refuse(this.#what, reason);
  }
}
