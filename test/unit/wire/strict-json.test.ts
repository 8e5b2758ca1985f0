import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExactNumber } from '../../../src/wire/exact-number.ts';
import { parseExactJson, parseStrictJson } from '../../../src/wire/strict-json.ts';
import { codeOf } from '../../support/code-of.ts';

const limits = { maxDepth: 8, maxOctets: 10_000 };
const read = (document: string | Uint8Array): unknown => parseStrictJson(document, limits);
const refusal = (document: string | Uint8Array): unknown => codeOf(() => read(document));

describe('parseStrictJson', () => {
  const document = '{"a":[1,-2.5,1e3,true,false,null],"b":{"c":"x\\u00e9\\n\\ud83d\\ude00 \u00e9"}," ":""}';

  it('reads what JSON.parse reads, from text and from octets', () => {
    expect(read(document)).toEqual(JSON.parse(document));
    expect(read(Buffer.from(document))).toEqual(JSON.parse(document));
    expect(read(` \t\r\n${document}\n`)).toEqual(JSON.parse(document));
  });

  it('refuses a document cut at any octet', () => {
    const octets = Buffer.from(document);
    for (let end = 0; end < octets.length; end += 1) {
      expect(refusal(octets.subarray(0, end)), `cut at ${end}`).toBe('malformed_json');
    }
  });

  it.each(['x', ',', '}', '\u0000', '1'])('refuses a trailing %j', (more) => {
    expect(refusal(document + more)).toBe('malformed_json');
  });

  it.each([
    ['S7: duplicate members', '{"a":1,"a":2}'],
    ['S7: members that are equal after unescaping', '{"a":1,"\\u0061":2}'],
    ['S7: duplicate members called "__proto__"', '{"__proto__":1,"__proto__":2}'],
    ['S7: a lone high surrogate', '"\\ud83d"'],
    ['S7: a lone high surrogate before more', '"\\ud83d\u00e9"'],
    ['S7: a lone surrogate in the text', '"\ud83d"'],
    ['S7: a lone low surrogate in a name', '{"\\ude00":1}'],
    ['S7: a byte order mark', '\uFEFF{}'],
    ['S7: a number that a double rounds', '3000.0000000000001'],
    ['an unsafe integer', '9007199254740992'],
    ['an unsafe integer with an exponent', '1e21'],
    ['a number too large for a double', '1e400'],
    ['a number too small for a double', '1e-400'],
    ['negative zero', '-0'],
    ['negative zero with a fraction', '-0.0'],
    ['a leading zero', '01'],
    ['a plus sign', '+1'],
    ['a bare point', '1.'],
    ['hexadecimal', '0x10'],
    ['NaN', 'NaN'],
    ['a comma at the end of an object', '{"a":1,}'],
    ['a comma at the end of an array', '[1,]'],
    ['a comment', '{}/**/'],
    ['single quotes', "{'a':1}"],
    ['a raw line feed in a string', '"a\nb"'],
    ['an unknown escape', '"\\x41"'],
    ['a short unicode escape', '"\\u12"'],
    ['a missing colon', '{"a" 1}'],
    ['nothing', ''],
    ['nesting beyond the limit', '['.repeat(9) + ']'.repeat(9)],
    ['a document beyond the limit', `"${'x'.repeat(10_000)}"`],
    ['no-break space between tokens', '[1,\u00a02]'],
  ])('refuses %s', (_what, text) => {
    expect(refusal(text)).toBe('malformed_json');
  });

  it.each([
    ['an octet that is not UTF-8', [0x22, 0xff, 0x22]],
    ['an overlong slash', [0x22, 0xc0, 0xaf, 0x22]],
    ['a surrogate in UTF-8', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a byte order mark', [0xef, 0xbb, 0xbf, 0x7b, 0x7d]],
  ])('refuses %s', (_what, octets) => {
    expect(refusal(Uint8Array.from(octets))).toBe('malformed_json');
  });

  it('reads the next document after one that is not UTF-8', () => {
    expect(refusal(Uint8Array.from([0x22, 0xe2, 0x82]))).toBe('malformed_json');
    expect(read(Buffer.from('"\u00e9"'))).toBe('\u00e9');
  });

  it('takes nesting up to the limit and names the position of a fault', () => {
    expect(read('['.repeat(8) + ']'.repeat(8))).toBeDefined();
    expect(() => read('{"a": tru}')).toThrow('at character 6');
  });

  it('keeps "__proto__" as a member and leaves prototypes alone', () => {
    const value = read('{"__proto__":{"admin":true}}') as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(value['admin']).toBeUndefined();
  });

  it('agrees with JSON.parse on whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        const text = JSON.stringify(value);
        let mine: unknown;
        try {
          mine = parseStrictJson(text, { maxDepth: 8, maxOctets: 1_000_000 });
        } catch {
          // Only for the stated reasons: numbers beyond 2^53-1, and surrogates.
          return /[0-9]{16}|e[+]|\\ud[89a-f]/i.test(text);
        }
        expect(mine).toEqual(JSON.parse(text));
        return true;
      }),
      { numRuns: 300 },
    );
  });

  it('never does anything but answer or refuse with its code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.string({ unit: 'binary' })), (document) => {
        const code = refusal(document);
        expect([undefined, 'malformed_json']).toContain(code);
      }),
      { numRuns: 500 },
    );
  });
});

describe('parseExactJson', () => {
  const exact = (text: string): ExactNumber => {
    const value = parseExactJson(text, limits);
    if (!(value instanceof ExactNumber)) throw new Error('no number');
    return value;
  };

  it('S7: keeps 3000.0000000000001 apart from 3000', () => {
    expect(exact('3000.0000000000001').text).toBe('3000.0000000000001');
    expect(exact('3000.0000000000001').equals(exact('3000'))).toBe(false);
    expect(exact('3000.0000000000001').scaled(4)).toBeUndefined();
    expect(exact('3000.0000').equals(exact('3e3'))).toBe(true);
  });

  it.each([
    ['0', 4, 0n],
    ['12.3456', 4, 123456n],
    ['-12.34560', 4, -123456n],
    ['1e-4', 4, 1n],
    ['1e-5', 4, undefined],
    ['-0', 4, undefined],
    ['9223372036854775808', 0, 9223372036854775808n],
    ['1e999999999', 4, undefined],
    ['0e999999999', 4, 0n],
    ['1e-999999999', 4, undefined],
  ])('%s with %i places is %s', (text, places, expected) => {
    expect(exact(text).scaled(places)).toBe(expected);
  });

  it('is linear in long runs of digits', () => {
    const long = `1${'0'.repeat(9000)}1`;
    expect(exact(long).scaled(4)).toBeUndefined();
  });
});
