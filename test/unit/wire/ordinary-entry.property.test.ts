/** S16: an entry that is written without asking its shape is one that its shape has. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { NO_ENTRY, parseAuditEntry } from '../../../src/wire/audit-entry.ts';
import { encodeBase64url } from '../../../src/wire/base64url.ts';
import { isOrdinaryEntry } from '../../../src/wire/ordinary-entry.ts';

const PLACE = { index: 3, previous: encodeBase64url(NO_ENTRY), at: 1_760_000_000_000 };
const ENTRIES = [
  {
    ...PLACE,
    kind: 'decision',
    action: 'http-message',
    effect: 'permit',
    policies: ['owner', 'pay'],
    policyVersion: 1,
    caller: { ingress: 'shared', uid: 1, gid: 2, pid: 3, startTimeTicks: '12', executableSha256: undefined },
    agent: { id: 'i', name: 'b', kid: 'k' },
    octetsSha256: 'ab'.repeat(32),
    parameters: { method: 'POST', path: '/päy', components: ['@method'], seconds: 60 },
    authority: { principal: 'p', grantId: 'g', depth: 1, links: [{ jti: 'j', agent: 'c', kid: 'k' }] },
    reservation: {
      id: 'r',
      charges: [{ kind: 'limit', unit: 'USD.2', amount: '3', policy: 'pay', window: 'day' }],
    },
    refusal: undefined,
    // As the recorder composes it.
    intent: undefined,
    observed: undefined,
  },
  {
    ...PLACE,
    kind: 'outcome',
    decision: 0,
    effect: 'done',
    signatureSha256: 'cd'.repeat(32),
    settlement: 'x',
  },
  { ...PLACE, kind: 'outcome', decision: 0, effect: 'failed', code: 'tpm_unavailable' },
];

const odd = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, -1, -0, 0, 1.5, 2 ** 53, NaN, '', 'A'.repeat(43), [], {}),
  fc.constantFrom<unknown>('\ud800', 'x'.repeat(2048), 'x'.repeat(2049), 'ab'.repeat(32), 'permit', 'done'),
  fc.constantFrom<unknown>(['x'], [1], [['x']], { a: 1 }, { a: { b: [[]] } }, Array(257).fill('x'), [
    ['\ud800'],
  ]),
);

/** Every object and list in a value, itself first. */
function places(value: unknown): readonly Record<string, unknown>[] {
  if (typeof value !== 'object' || value === null) return [];
  return [value as Record<string, unknown>, ...Object.values(value).flatMap(places)];
}

const changed = fc
  .record({
    entry: fc.constantFrom(...ENTRIES),
    place: fc.nat(),
    name: fc.nat(),
    added: fc.option(fc.constantFrom('more', '__proto__', 'code', 'unit', 'intent', '0')),
    isGone: fc.boolean(),
    value: odd,
  })
  .map(({ entry, place, name, added, isGone, value }) => {
    const copy = structuredClone(entry);
    const all = places(copy);
    const at = all[place % all.length] ?? {};
    const names = Object.keys(at);
    const member = added ?? names[name % Math.max(1, names.length)] ?? 'more';
    if (isGone) Reflect.deleteProperty(at, member);
    else Object.defineProperty(at, member, { value, enumerable: true, writable: true, configurable: true });
    return copy;
  });

it.each(ENTRIES)('$kind of a signature is ordinary', (entry) => {
  expect(isOrdinaryEntry(entry)).toBe(true);
});

it('S16: whatever is changed of an entry, one that is ordinary can be read again', () => {
  const seen = new Set<boolean>();
  fc.assert(
    fc.property(changed, (entry) => {
      const isOrdinary = isOrdinaryEntry(entry);
      seen.add(isOrdinary);
      if (!isOrdinary) return;
      const text = JSON.stringify(entry);
      expect(parseAuditEntry(Buffer.from(text))).toEqual(JSON.parse(text));
    }),
    { numRuns: 10_000 },
  );
  expect(seen.size).toBe(2);
});
