/** Entries of the audit log are read strictly: what two readers could take differently is no entry. */
import { describe, expect, it } from 'vitest';
import {
  encodeAuditEntry,
  MAX_ENTRY_OCTETS,
  NO_ENTRY,
  parseAuditEntry,
  type AuditRecord,
} from '../../../src/wire/audit-entry.ts';
import { leafHash } from '../../../src/wire/merkle.ts';
import { codeOf } from '../../support/code-of.ts';

const CALLER = {
  ingress: 'shared',
  uid: 1000,
  gid: 1000,
  pid: 4711,
  startTimeTicks: '12',
  unit: 'a.service',
};
const DECISION: AuditRecord = {
  at: 1_760_000_000_000,
  kind: 'decision',
  action: 'http-message',
  effect: 'permit',
  policies: ['owner'],
  policyVersion: 1,
  caller: CALLER,
  agent: { id: 'spiffe://a/b', name: 'b', kid: 'k' },
  octetsSha256: 'ab'.repeat(32),
  parameters: { method: 'POST', path: '/päy', components: ['@method'] },
  authority: { principal: 'p', grantId: 'g', depth: 1, links: [{ jti: 'j', agent: 'c', kid: 'k' }] },
  intent: { purpose: 'pay', note: 'ünïcode' },
  reservation: { id: 'r', charges: [{ kind: 'budget', unit: 'USD.2', amount: '300000' }] },
};
const RECORDS: readonly AuditRecord[] = [
  DECISION,
  {
    at: 1,
    kind: 'outcome',
    decision: 0,
    effect: 'done',
    signatureSha256: 'cd'.repeat(32),
    settlement: 'committed',
  },
  { at: 1, kind: 'outcome', decision: 0, effect: 'failed', code: 'tpm_unavailable' },
  { at: 1, kind: 'outcome', decision: 0, effect: 'outcome-unknown' },
  { at: 1, kind: 'denials', share: 'uid:1000', count: 7, since: 0 },
  { at: 1, kind: 'checkpoint', note: 'agentkeyd/x\n1\n...' },
  { at: 1, kind: 'anchor', value: '8', attest: 'AA', signature: 'AA', head: 'AA' },
  {
    at: 1,
    kind: 'command-audit',
    effect: 'inconclusive',
    reason: 'reset',
    signed: 2,
    expected: '',
    auditHead: 'A'.repeat(43),
    auditSize: 8,
    ...{ ak: 'AA', attest: 'AA', signature: 'AA' },
  },
  { at: 1, kind: 'event', event: 'start', detail: { unsigned: 3, torn: 0 } },
];
const OCTETS = encodeAuditEntry(DECISION, 5, leafHash(Buffer.from('before')));
const TEXT = Buffer.from(OCTETS).toString('utf8');
const parseText = (text: string): unknown => parseAuditEntry(Buffer.from(text));

describe('an audit entry', () => {
  it.each(RECORDS)('$kind comes back as it was written, with its place', (record) => {
    const octets = encodeAuditEntry(record, 9, NO_ENTRY);
    expect(parseAuditEntry(octets)).toEqual({ index: 9, previous: 'A'.repeat(43), ...record });
    expect(octets.includes(0x0a)).toBe(false);
  });

  it('is JSON of its members in their order, after its place, without what is undefined', () => {
    const record: AuditRecord = { ...DECISION, refusal: undefined, observed: undefined };
    expect(Buffer.from(encodeAuditEntry(record, 9, NO_ENTRY)).toString()).toBe(
      JSON.stringify({ index: 9, previous: 'A'.repeat(43), ...DECISION }),
    );
  });

  it('is read from a view into something larger', () => {
    const around = Buffer.concat([Buffer.from('{}'), OCTETS, Buffer.from('{}')]);
    expect(parseAuditEntry(around.subarray(2, 2 + OCTETS.length))).toEqual(parseAuditEntry(OCTETS));
  });

  it('is refused cut at every offset and with any octet behind it', () => {
    for (let end = 0; end < OCTETS.length; end += 1) {
      expect(
        codeOf(() => parseAuditEntry(OCTETS.subarray(0, end))),
        `${end}`,
      ).toBe('malformed_json');
    }
    for (const more of ['x', '{}', ',', '\0', '\uFEFF'])
      expect(
        codeOf(() => parseText(`${TEXT}${more}`)),
        more,
      ).toBe('malformed_json');
    expect(codeOf(() => parseText(`\uFEFF${TEXT}`))).toBe('malformed_json');
  });

  it.each([
    ['a member twice', TEXT.replace('"at":', '"at":1,"at":'), 'malformed_json'],
    ['a member twice, escaped', TEXT.replace('"at":', '"\\u0061t":1,"at":'), 'malformed_json'],
    ['a lone surrogate', TEXT.replace('POST', '\\ud800'), 'malformed_json'],
    [
      'a number that a double changes',
      TEXT.replace('"uid":1000', '"uid":9007199254740993'),
      'malformed_json',
    ],
    ['-0', TEXT.replace('"uid":1000', '"uid":-0'), 'malformed_json'],
    ['a fraction', TEXT.replace('"uid":1000', '"uid":1.5'), 'malformed_structure'],
    ['an unknown member', TEXT.replace('"at":', '"more":1,"at":'), 'malformed_structure'],
    ['an unknown member within', TEXT.replace('"uid":', '"euid":0,"uid":'), 'malformed_structure'],
    ['__proto__', TEXT.replace('"at":', '"__proto__":{},"at":'), 'malformed_structure'],
    ['no place', TEXT.replace('"index":5,', ''), 'malformed_structure'],
    ['a negative place', TEXT.replace('"index":5', '"index":-5'), 'malformed_structure'],
    ['a hash of 31 octets', TEXT.replace(/"previous":"../, '"previous":"'), 'malformed_structure'],
    ['bits that no hash has', TEXT.replace(/"previous":"(.{42})./, '"previous":"$1B'), 'malformed_structure'],
    ['another kind', TEXT.replace('"kind":"decision"', '"kind":"toString"'), 'malformed_structure'],
    ['no kind', TEXT.replace('"kind":"decision",', ''), 'malformed_structure'],
    [
      'the members of another kind',
      TEXT.replace('"kind":"decision"', '"kind":"outcome"'),
      'malformed_structure',
    ],
    ['another effect', TEXT.replace('permit', 'maybe'), 'malformed_structure'],
    ['nesting', TEXT.replace('"POST"', `${'['.repeat(20)}${']'.repeat(20)}`), 'malformed_json'],
    ['an array', `[${TEXT}]`, 'malformed_structure'],
    ['null', 'null', 'malformed_structure'],
  ])('%s is refused', (_, text, code) => {
    expect(text).not.toBe(TEXT);
    expect(codeOf(() => parseText(text))).toBe(code);
  });

  it('octets that are no UTF-8 are refused, also where they would be read as U+FFFD', () => {
    const at = TEXT.indexOf('POST');
    const octets = Uint8Array.from(OCTETS);
    octets[at] = 0xff;
    expect(codeOf(() => parseAuditEntry(octets))).toBe('malformed_json');
  });

  it('other spellings of the same are read alike, and are other leaves', () => {
    for (const other of [
      ` ${TEXT}`,
      TEXT.replace('"at":', '"at" : '),
      TEXT.replace('POST', '\\u0050OST'),
      TEXT.replace('/p', '\\/p'),
    ]) {
      expect(parseText(other)).toEqual(parseText(TEXT));
      expect(leafHash(Buffer.from(other))).not.toEqual(leafHash(OCTETS));
    }
  });

  it('what could not be read again is not written', () => {
    const long = {
      ...DECISION,
      parameters: { names: Array.from({ length: 9000 }, () => 'name-of-a-claim') },
    };
    expect(codeOf(() => encodeAuditEntry(long, 0, NO_ENTRY))).toBe('malformed_structure');
    expect(JSON.stringify(long).length).toBeGreaterThan(MAX_ENTRY_OCTETS);
    const more = { ...DECISION, token: 'x' } as AuditRecord;
    expect(codeOf(() => encodeAuditEntry(more, 0, NO_ENTRY))).toBe('malformed_structure');
    const deep = { ...DECISION, parameters: { a: [[[[[[[[[[1]]]]]]]]]] } };
    expect(codeOf(() => encodeAuditEntry(deep, 0, NO_ENTRY))).toBe('malformed_structure');
  });
});
