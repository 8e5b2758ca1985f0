/** What policies carry beside their conditions. An annotation this daemon does not know is a fault, not a remark. */
import { WINDOWS, USES, type UnitName, type Window } from '../counters.ts';
import { ExactNumber } from '../../wire/exact-number.ts';
import { parseTargetUri } from '../../wire/target-uri.ts';
import { KeydError } from '../../wire/problem.ts';
import { isJsonPointer, toPointer } from './json-pointer.ts';

/** Where a metered amount stands. */
export type AmountSource =
  | { readonly from: 'body' | 'claim'; readonly pointer: string }
  /** JSON Pointer of one member: "/amount". */
  | { readonly from: 'query'; readonly pointer: string }
  | { readonly from: 'fixed'; readonly amount: bigint };

export interface Meter {
  readonly unit: UnitName;
  readonly decimals: number;
  readonly source: AmountSource;
}

export interface Limit {
  readonly limit: bigint;
  readonly unit: UnitName;
  readonly window: Window;
  readonly per: 'grant' | 'agent';
}

export interface Annotations {
  readonly id: string | undefined;
  readonly approval: 'none' | 'person' | 'passkey';
  readonly meters: readonly Meter[];
  readonly limits: readonly Limit[];
  readonly scopes: readonly string[];
  /** Whose word may lower what it meters: the resource's signed answer, or the agent's own as well (S8). */
  readonly settle: 'resource' | 'agent';
  /** Origins, or `*`. */
  readonly unboundParameters: readonly string[];
  /** Something beside `id` is there. */
  readonly obliges: boolean;
}

const ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const SCOPE = /^(?:\*|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?:\.\*)?)$/;
const UNIT = /^([A-Za-z][A-Za-z0-9_-]{0,31})\.(0|[1-9]|1[0-8])$/;
const MAX_ITEMS = 16;

/** The annotations of one policy, and what is wrong with them, one sentence each. */
export function parseAnnotations(given: Readonly<Record<string, string | null>>): {
  readonly annotations: Annotations;
  readonly faults: readonly string[];
} {
  const faults: string[] = [];
  const known = new Set(['id', 'approval', 'meter', 'limit', 'scope', 'settle', 'unboundParameters']);
  for (const name of Object.keys(given)) {
    if (!known.has(name)) faults.push(`has the unknown annotation @${name}`);
  }
  const annotations: Annotations = {
    id: id(given['id'], faults),
    approval: approval(given['approval'], faults),
    meters: list(given['meter'], 'meter', ';', meter, faults),
    limits: list(given['limit'], 'limit', ';', limit, faults),
    scopes: list(given['scope'], 'scope', ' ', scope, faults),
    settle: settle(given['settle'], faults),
    unboundParameters: list(given['unboundParameters'], 'unboundParameters', ' ', origin, faults),
    obliges: Object.keys(given).some((name) => name !== 'id'),
  };
  checkTogether(annotations, faults);
  return { annotations, faults };
}

function id(text: string | null | undefined, faults: string[]): string | undefined {
  if (text === undefined || text === null) {
    faults.push('has no @id("...")');
    return undefined;
  }
  if (ID.test(text)) return text;
  faults.push('has an @id that is no name: letters, digits and . _ : -, at most 128');
  return undefined;
}

function approval(text: string | null | undefined, faults: string[]): Annotations['approval'] {
  if (text === undefined) return 'none';
  if (text === 'person' || text === 'passkey') return text;
  faults.push('has an @approval that is neither "person" nor "passkey"');
  return 'none';
}

function settle(text: string | null | undefined, faults: string[]): Annotations['settle'] {
  if (text === undefined) return 'resource';
  if (text === 'resource' || text === 'agent') return text;
  faults.push('has a @settle that is neither "resource" nor "agent"');
  return 'resource';
}

type Parsed<T> = { readonly value: T } | { readonly fault: string };

function list<T>(
  text: string | null | undefined,
  name: string,
  separator: ' ' | ';',
  parse: (item: string) => Parsed<T>,
  faults: string[],
): readonly T[] {
  if (text === undefined) return [];
  const items = (text ?? '').split(separator === ' ' ? / +/ : ';').map((item) => item.trim());
  if (items.length > MAX_ITEMS) faults.push(`has @${name} with more than ${MAX_ITEMS} entries`);
  return items.slice(0, MAX_ITEMS).flatMap((item) => {
    const parsed = parse(item);
    if ('value' in parsed) return [parsed.value];
    faults.push(`has @${name} with ${JSON.stringify(item)}: ${parsed.fault}`);
    return [];
  });
}

const METER = /^(\S+) +(?:(body|claim|query):(\S+)|=([0-9.]+))$/;

/** `USD.2 body:/amount`, `USD.2 query:amount`, `USD.2 claim:/amount`, `EUR.2 =0.05`. */
function meter(item: string): Parsed<Meter> {
  const [, unitText = '', from, where = '', fixed] = METER.exec(item) ?? [];
  const decimals = decimalsOf(unitText);
  if (decimals === undefined || (from === undefined && fixed === undefined)) {
    return { fault: 'wants UNIT.DECIMALS, then body:/pointer, claim:/pointer, query:name or =amount' };
  }
  const source = amountSource(from, where, fixed, decimals);
  return 'fault' in source ? source : { value: { unit: unitText, decimals, source: source.value } };
}

function amountSource(
  from: string | undefined,
  where: string,
  fixed: string | undefined,
  decimals: number,
): Parsed<AmountSource> {
  if (from === 'query') return { value: { from, pointer: toPointer([where]) } };
  if (from === 'body' || from === 'claim') {
    if (!isJsonPointer(where) || where === '') return { fault: 'wants a JSON Pointer such as /amount' };
    return { value: { from, pointer: where } };
  }
  const amount = exactAmount(fixed ?? '', decimals);
  return amount === undefined
    ? { fault: `wants an amount above zero with at most ${decimals} decimals` }
    : { value: { from: 'fixed', amount } };
}

const LIMIT = /^(\S+)(?: +(\S+))? +per +(\S+)( +each +agent)?$/;

/** `1 per lifetime`, `20 per hour each agent`, `500.00 USD.2 per day`. */
function limit(item: string): Parsed<Limit> {
  const [, amountText = '', unit = USES, windowText, each] = LIMIT.exec(item) ?? [];
  const window = WINDOWS.find((name) => name === windowText);
  const decimals = decimalsOf(unit);
  if (window === undefined || decimals === undefined) {
    return { fault: `wants "AMOUNT [UNIT.DECIMALS] per ${WINDOWS.join('|')} [each agent]"` };
  }
  const amount = exactAmount(amountText, decimals);
  if (amount === undefined) return { fault: `wants an amount above zero with at most ${decimals} decimals` };
  return { value: { limit: amount, unit, window, per: each === undefined ? 'grant' : 'agent' } };
}

function scope(item: string): Parsed<string> {
  return SCOPE.test(item) ? { value: item } : { fault: 'is no scope of words joined by full stops' };
}

/** `*` is every origin, and what is for none in particular: a CSR, raw octets. */
function origin(item: string): Parsed<string> {
  if (item === '*') return { value: item };
  try {
    if (parseTargetUri(`${item}/`).origin === item) return { value: item };
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
  }
  return { fault: 'is no origin such as https://api.example' };
}

function checkTogether({ meters, limits, settle: by }: Annotations, faults: string[]): void {
  if (by === 'agent' && meters.length === 0) faults.push('has @settle without a @meter to settle');
  const units = meters.map(({ unit }) => unit);
  if (new Set(units).size < units.length) faults.push('has @meter with one unit twice');
  for (const { unit } of limits) {
    if (unit !== USES && !units.includes(unit))
      faults.push(`has @limit in ${unit}, which its @meter does not count`);
  }
  const windows = limits.map(({ unit, window, per }) => `${unit} ${window} ${per}`);
  if (new Set(windows).size < windows.length) faults.push('has @limit with one unit and window twice');
  if (units.includes(USES)) faults.push(`has @meter with ${USES}, which counts by itself`);
}

function decimalsOf(unit: string): number | undefined {
  const match = UNIT.exec(unit);
  return match === null ? undefined : Number(match[2]);
}

function exactAmount(text: string, decimals: number): bigint | undefined {
  const amount = ExactNumber.from(text)?.scaled(decimals);
  return amount !== undefined && amount > 0n ? amount : undefined;
}
