/**
 * The entries that every signature adds to the audit log, told by a look at their members. The shapes of audit-entry.ts
 * say more, what is wrong and where, and take five times as long: they are asked about every other entry.
 */

type Test = (value: unknown) => boolean;

const MAX_LINE = 2048;
const MAX_WORDS = 256;

const isCount: Test = (value) =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
const isLine: Test = (value) => typeof value === 'string' && value.length <= MAX_LINE && value.isWellFormed();
const isText: Test = (value) => typeof value === 'string' && value.isWellFormed();
const isHex: Test = (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
const isHash: Test = (value) =>
  typeof value === 'string' && /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/.test(value);
const isOneOf = (...values: readonly string[]): Test => {
  return (value) => typeof value === 'string' && values.includes(value);
};

function isList(isItem: Test, max: number): Test {
  return (value) => {
    if (!Array.isArray(value) || value.length > max) return false;
    for (const item of value) if (!isItem(item)) return false;
    return true;
  };
}

/** All of `required`, of `more` any, and nothing else; of `more`, what is undefined is not there. */
function isObject(required: Readonly<Record<string, Test>>, more: Readonly<Record<string, Test>> = {}): Test {
  const needed = Object.keys(required);
  const tests = new Map(Object.entries(required));
  for (const [name, test] of Object.entries(more)) {
    tests.set(name, (value) => value === undefined || test(value));
  }
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const given = value as Readonly<Record<string, unknown>>;
    for (const name of Object.keys(given)) {
      if (tests.get(name)?.(given[name]) !== true) return false;
    }
    for (const name of needed) if (!Object.hasOwn(given, name)) return false;
    return true;
  };
}

const isWords = isList(isText, MAX_WORDS);
/** Text, numbers and lists of text only: nothing is nested deeper. */
const isParameters: Test = (value) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const given = value as Readonly<Record<string, unknown>>;
  const names = Object.keys(given);
  if (names.length > 32) return false;
  for (const name of names) {
    const member = given[name];
    if (!/^[A-Za-z]{1,64}$/.test(name) || !(isText(member) || isCount(member) || isWords(member)))
      return false;
  }
  return true;
};

const common = { index: isCount, previous: isHash, at: isCount };
const isDecision = isObject(
  {
    ...common,
    kind: isOneOf('decision'),
    action: isLine,
    effect: isOneOf('permit', 'deny', 'pending'),
    policies: isList(isLine, MAX_WORDS),
    policyVersion: isCount,
    caller: isObject(
      { ingress: isLine, uid: isCount, gid: isCount, pid: isCount },
      { startTimeTicks: isLine, executableSha256: isHex, unit: isLine, containerId: isLine },
    ),
    parameters: isParameters,
  },
  {
    agent: isObject({ id: isLine, name: isLine, kid: isLine }),
    octetsSha256: isHex,
    authority: isObject({
      principal: isLine,
      grantId: isLine,
      depth: isCount,
      links: isList(isObject({ jti: isLine, agent: isLine, kid: isLine }), 16),
    }),
    reservation: isObject({
      id: isLine,
      charges: isList(
        isObject(
          { kind: isOneOf('budget', 'limit'), unit: isLine, amount: isLine },
          { policy: isLine, window: isLine },
        ),
        64,
      ),
    }),
    refusal: isLine,
    // Rare: where there are any, the shape is asked.
    intent: () => false,
    observed: () => false,
  },
);
const isOutcome = isObject(
  { ...common, kind: isOneOf('outcome'), decision: isCount, effect: isOneOf('done', 'failed') },
  { signatureSha256: isHex, code: isLine, settlement: isLine },
);

/** Whether an entry surely is of its shape, and nested no deeper than that. False says nothing. */
export function isOrdinaryEntry(entry: { readonly kind: string }): boolean {
  if (entry.kind === 'decision') return isDecision(entry);
  return entry.kind === 'outcome' && isOutcome(entry);
}
