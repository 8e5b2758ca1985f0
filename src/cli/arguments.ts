/** Readers of option values; what they refuse is wrong usage, told beside the option's name. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { asKeydError, KeydError } from '../wire/problem.ts';

/** A whole number of at least 0, in digits. */
export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is not a whole number.');
  return Number(text);
}

/** Seconds, more than 0, fractions allowed; at most a day. */
export function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}(\.\d{1,3})?$/.test(text) || value <= 0 || value > 86_400)
    throw new InvalidArgumentError('It is not a number of seconds, more than 0 and at most 86400.');
  return value;
}

/** "0,2,7": PCR indices. */
export function pcrList(text: string): readonly number[] {
  if (!/^\d{1,2}(,\d{1,2})*$/.test(text)) throw new InvalidArgumentError('It is not a list such as 0,2,7.');
  return text.split(',').map(Number);
}

/** Collects a repeatable option. */
export function collect(value: string, all: readonly string[]): readonly string[] {
  return [...all, value];
}

/**
 * The octets of an argument: itself, or `@FILE`, or `@-` for standard input.
 * @throws KeydError `malformed_request` where the file can not be read
 */
export function readData(argument: string): Uint8Array {
  if (!argument.startsWith('@')) return Buffer.from(argument);
  const file = argument.slice(1);
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (thrown) {
    throw new KeydError('malformed_request', `can not read ${file}: ${asKeydError(thrown).message}`, {
      cause: thrown,
    });
  }
}
