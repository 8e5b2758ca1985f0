import fc from 'fast-check';
import { parseDictionary } from 'structured-headers';
import { describe, expect, it } from 'vitest';
import { receivedSignature } from '../../../src/wire/signature-fields.ts';
import {
  serializeInnerList,
  serializeItem,
  serializeMember,
  SfToken,
  type SfBareItem,
} from '../../../src/wire/structured-fields.ts';
import { isInnerList, parseSfDictionary } from '../../../src/wire/structured-fields-parse.ts';
import { codeOf } from '../../support/code-of.ts';

const parse = (text: string) => parseSfDictionary(text, 'the field');
const refusal = (text: string): unknown => codeOf(() => parse(text));

describe('serialization', () => {
  it.each<[SfBareItem, string]>([
    ['a "b" \\c', '"a \\"b\\" \\\\c"'],
    [0, '0'],
    [-999_999_999_999_999, '-999999999999999'],
    [true, '?1'],
    [false, '?0'],
    [new SfToken('a/b:*'), 'a/b:*'],
    [Uint8Array.from([0, 255]), ':AP8=:'],
  ])('%j is %s', (value, text) => {
    expect(serializeItem({ value, parameters: [] })).toBe(text);
  });

  it('writes a true parameter bare and a false one in full', () => {
    expect(serializeInnerList([{ value: 'a', parameters: [['req', true]] }], [['x', false]])).toBe(
      '("a";req);x=?0',
    );
  });

  it.each([
    ['a string outside ASCII', () => serializeItem({ value: 'é', parameters: [] })],
    ['a string with a line feed', () => serializeItem({ value: 'a\nb', parameters: [] })],
    ['a fraction', () => serializeItem({ value: 1.5, parameters: [] })],
    ['an integer of 16 digits', () => serializeItem({ value: 1e15, parameters: [] })],
    ['a token that begins with a digit', () => new SfToken('1a')],
    ['a parameter named in upper case', () => serializeItem({ value: 'a', parameters: [['A', 1]] })],
    ['a parameter named twice', () => serializeItem({ value: 'a', parameters: [['a', 1], ['a', 2]] })], // prettier-ignore
    ['a label with a space', () => serializeMember('a b', '1')],
  ])('refuses %s', (_what, act) => {
    expect(codeOf(act)).toBe('invalid_component');
  });
});

describe('parseSfDictionary', () => {
  const field =
    'sig=("@method" "@query-param";name="P" "x";req);created=1618884473;keyid="a\\"b";alg=tok;flag;off=?0, other=:AP8=:;p=-5';

  it('reads what signatures carry', () => {
    const members = parse(field);
    expect([...members.keys()]).toEqual(['sig', 'other']);
    const sig = members.get('sig');
    if (sig === undefined || !isInnerList(sig)) throw new Error('no inner list');
    expect(sig.items).toEqual([
      { value: '@method', parameters: [] },
      { value: '@query-param', parameters: [['name', 'P']] },
      { value: 'x', parameters: [['req', true]] },
    ]);
    expect(sig.parameters).toEqual([
      ['created', 1618884473],
      ['keyid', 'a"b'],
      ['alg', new SfToken('tok')],
      ['flag', true],
      ['off', false],
    ]);
    expect(members.get('other')).toEqual({ value: Uint8Array.from([0, 255]), parameters: [['p', -5]] });
  });

  it('at every cut, reads what another parser reads or refuses', () => {
    for (let end = 0; end < field.length; end += 1) {
      const cut = field.slice(0, end);
      if (refusal(cut) !== undefined) expect(refusal(cut), `cut at ${end}`).toBe('invalid_header');
      else expect([...parse(cut).keys()]).toEqual([...parseDictionary(cut).keys()]);
    }
    expect(refusal(field.slice(0, 20))).toBe('invalid_header');
  });

  it.each([
    ['nothing', ''],
    ['a space in front', ' a=1'],
    ['a space behind', 'a=1 '],
    ['another octet behind', 'a=1x'],
    ['a trailing comma', 'a=1,'],
    ['a comma without a space', 'a=1,b=2'],
    ['two spaces after a comma', 'a=1,  b=2'],
    ['a tab after a comma', 'a=1,\tb=2'],
    ['a key twice', 'a=1, a=2'],
    ['a parameter twice', 'a=1;p=1;p=2'],
    ['a parameter of an inner item twice', 'a=("x";p;p)'],
    ['a bare key', 'a'],
    ['an upper-case key', 'A=1'],
    ['a boolean spelled out', 'a=1;p=?1'],
    ['a space before a parameter', 'a=1; p'],
    ['two spaces in a list', 'a=("x"  "y")'],
    ['a space inside a list', 'a=( "x")'],
    ['a list that does not end', 'a=("x"'],
    ['a list in a list', 'a=(("x"))'],
    ['no space between items', 'a=("x""y")'],
    ['a decimal', 'a=1.0'],
    ['a leading zero', 'a=01'],
    ['minus zero', 'a=-0'],
    ['16 digits', 'a=1234567890123456'],
    ['a date', 'a=@1'],
    ['a display string', 'a=%"x"'],
    ['a string that does not end', 'a="x'],
    ['a string with an unknown escape', 'a="\\x"'],
    ['a string with a control character', 'a="\x01"'],
    ['base64 without padding', 'a=:AP8:'],
    ['base64 with bits to spare', 'a=:AP9=:'],
    ['base64url', 'a=:-_8=:'],
    ['more than 16 members', Array.from({ length: 17 }, (_, index) => `k${String(index)}=1`).join(', ')],
    ['more than 64 items', `a=(${Array.from({ length: 65 }, () => '"x"').join(' ')})`],
    ['more than 32768 characters', `a="${'x'.repeat(32_768)}"`],
  ])('refuses %s', (_what, text) => {
    expect(refusal(text)).toBe('invalid_header');
  });

  it('takes nothing that another parser refuses, and reads it alike', () => {
    const unit = fc.constantFrom(...'ab=1;,"()? :\\-.*/AZ'.split(''), '=("', ', b=', ';p=', '"x"', ':AA==:');
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 20 }), (tail) => {
        const text = `a=${tail}`;
        if (refusal(text) !== undefined) return;
        const theirs = parseDictionary(text);
        const mine = parse(text);
        expect([...mine.keys()]).toEqual([...theirs.keys()]);
        for (const [key, member] of mine) {
          const [, parameters] = theirs.get(key) ?? [];
          expect(member.parameters.map(([name]) => name)).toEqual([...(parameters?.keys() ?? [])]);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('receivedSignature', () => {
  const headers = [
    ['Signature-Input', 'sig=("@method");created=1'],
    ['Signature', 'sig=:AAAA:'],
  ] as const;

  it('finds a signature among others, over several lines', () => {
    const more = [
      ['signature-input', 'proxy=()'] as const,
      ...headers,
      ['SIGNATURE', 'proxy=:AA==:'] as const,
    ];
    expect(receivedSignature(more, 'sig')).toEqual({
      label: 'sig',
      components: [{ name: '@method', parameters: [] }],
      parameters: [['created', 1]],
      signature: new Uint8Array(3),
    });
  });

  it.each([
    ['no Signature', [headers[0]], 'verification_failed'],
    ['no Signature-Input', [headers[1]], 'verification_failed'],
    ['another label', [['Signature-Input', 'x=()'], headers[1]], 'verification_failed'],
    ['a list for the signature', [headers[0], ['Signature', 'sig=(:AAAA:)']], 'invalid_header'],
    ['a string for the signature', [headers[0], ['Signature', 'sig="AAAA"']], 'invalid_header'],
    ['a parameter on the signature', [headers[0], ['Signature', 'sig=:AAAA:;x']], 'invalid_header'],
    ['an item for the input', [['Signature-Input', 'sig="@method"'], headers[1]], 'invalid_header'],
    ['a component that is a token', [['Signature-Input', 'sig=(method)'], headers[1]], 'invalid_header'],
    ['the label on two lines', [...headers, ['Signature', 'sig=:BBBB:']], 'invalid_header'],
  ] as const)('refuses %s', (_what, lines, code) => {
    expect(codeOf(() => receivedSignature(lines, 'sig'))).toBe(code);
  });
});
