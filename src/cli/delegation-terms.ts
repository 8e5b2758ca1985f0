/** What a sub-agent is given, as it is written on a command line. */
import { InvalidArgumentError } from 'commander';
import { parseStrictJson } from '../wire/strict-json.ts';

type Constraint = Readonly<Record<string, unknown>>;

export interface BudgetAmount {
  readonly unit: string;
  readonly decimals: number;
  /** Whole number of the unit's smallest part. */
  readonly amount: number;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** "90s", "10m", "2h", "30d": seconds. */
export function duration(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,6})([smhd])$/.exec(text) ?? [];
  if (count === '') throw new InvalidArgumentError('It is not a time such as 90s, 10m, 2h or 7d.');
  return Number(count) * SECONDS[unit as keyof typeof SECONDS];
}

/**
 * "USD:3000.00": the digits after the point are the decimals of the unit, so that `USD:3000` is another unit
 * than `USD:3000.00`. "calls:50" counts signatures.
 */
export function budget(text: string): BudgetAmount {
  const [, unit = '', whole = '', fraction = ''] =
    /^([A-Za-z][A-Za-z0-9]{0,31}):(0|[1-9]\d{0,15})(?:\.(\d{1,15}))?$/.exec(text) ?? [];
  const amount = Number(whole + fraction);
  if (unit === '' || !Number.isSafeInteger(amount)) {
    throw new InvalidArgumentError('It is not UNIT:AMOUNT, such as USD:3000.00 or calls:50.');
  }
  return { unit, decimals: fraction.length, amount };
}

/**
 * "KEY TYPE VALUE", or the JSON object. The type says what the value is: `in` takes texts with commas between
 * them, `max_subtree`, `max_lifetime` and `max` of a spend key a whole number, every other a text. What else a
 * value may be is written as JSON.
 */
export function constraint(text: string): Constraint {
  if (text.startsWith('{')) return jsonConstraint(text);
  const [, key = '', type = '', value = ''] = /^(\S+) (\S+) (.+)$/su.exec(text) ?? [];
  if (key === '' || type === 'key') {
    throw new InvalidArgumentError(
      'It is not "KEY TYPE VALUE", such as "path prefix /v1" or "body:/amount max 30.00".',
    );
  }
  return { key, [type]: valueOf(key, type, value) };
}

function valueOf(key: string, type: string, value: string): unknown {
  if (type === 'in') return value.split(',');
  const isCount =
    type === 'max_subtree' || type === 'max_lifetime' || (type === 'max' && key.startsWith('spend.'));
  if (!isCount) return value;
  const count = Number(value);
  if (/^(?:0|[1-9]\d*)$/.test(value) && Number.isSafeInteger(count)) return count;
  throw new InvalidArgumentError(`${key} ${type} takes a whole number, of the unit's smallest part.`);
}

function jsonConstraint(text: string): Constraint {
  try {
    const value = parseStrictJson(Buffer.from(text), { maxDepth: 4, maxOctets: 64 * 1024 });
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Constraint;
  } catch {
    // Told below, beside the option's name.
  }
  throw new InvalidArgumentError('It is not a JSON object.');
}
