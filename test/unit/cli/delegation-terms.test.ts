/** What a sub-agent is given, read from a command line: exactly what was written, or wrong usage. */
import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { budget, constraint, duration } from '../../../src/cli/delegation-terms.ts';
import { parse } from '../../../src/wire/check.ts';
import { constraints } from '../../../src/delegation/constraint.ts';

describe('a time', () => {
  it.each([
    ['1s', 1],
    ['90s', 90],
    ['10m', 600],
    ['2h', 7200],
    ['30d', 2_592_000],
  ])('%s', (text, seconds) => {
    expect(duration(text)).toBe(seconds);
  });

  it.each(['', '10', '0s', '010m', '-1m', '1.5h', '10 m', '10M', '1h30m', '10m\n', '9'.repeat(30) + 's'])(
    'is not %j',
    (text) => {
      expect(() => duration(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe('a budget', () => {
  it.each([
    ['USD:3000.00', { unit: 'USD', decimals: 2, amount: 300_000 }],
    ['USD:0.01', { unit: 'USD', decimals: 2, amount: 1 }],
    ['USD:3000', { unit: 'USD', decimals: 0, amount: 3000 }],
    ['calls:50', { unit: 'calls', decimals: 0, amount: 50 }],
    ['BTC:0.00000001', { unit: 'BTC', decimals: 8, amount: 1 }],
    ['USD:90071992547409.91', { unit: 'USD', decimals: 2, amount: Number.MAX_SAFE_INTEGER }],
  ])('%s', (text, amount) => {
    expect(budget(text)).toEqual(amount);
  });

  it.each([
    '',
    'USD',
    'USD:',
    'USD:-1',
    'USD:+1',
    'USD:1e3',
    'USD:01.00',
    'USD:.50',
    'USD:1.',
    'USD:1,000.00',
    'USD 1.00',
    'U$D:1.00',
    'USD:90071992547409.92',
    'USD:1.0000000000000000',
    'USD:1.00\n',
  ])('is not %j', (text) => {
    expect(() => budget(text)).toThrow(InvalidArgumentError);
  });
});

describe('a constraint', () => {
  it.each([
    ['path prefix /v1/mail', { key: 'path', prefix: '/v1/mail' }],
    ['method in GET,HEAD', { key: 'method', in: ['GET', 'HEAD'] }],
    ['body:/amount max 30.00', { key: 'body:/amount', max: '30.00' }],
    ['body:/to equals ACME & Sons', { key: 'body:/to', equals: 'ACME & Sons' }],
    ['body:/count equals 5', { key: 'body:/count', equals: '5' }],
    ['spend.USD.2 max 3000', { key: 'spend.USD.2', max: 3000 }],
    ['spend.USD.2 max_subtree 3000', { key: 'spend.USD.2', max_subtree: 3000 }],
    ['calls max_lifetime 50', { key: 'calls', max_lifetime: 50 }],
    ['{"key":"body:/count","equals":5}', { key: 'body:/count', equals: 5 }],
  ])('%s', (text, expected) => {
    expect(constraint(text)).toEqual(expected);
    expect(parse(constraints, [constraint(text)])).toEqual([expected]);
  });

  it.each([
    '',
    'path',
    'path prefix',
    'spend.USD.2 max 30.00',
    'calls max_lifetime -1',
    'path key x',
    '{',
    '[]',
    '{"key":1,"key":2}',
  ])('is not %j', (text) => {
    expect(() => constraint(text)).toThrow(InvalidArgumentError);
  });

  it('is left to the daemon where it is one that nobody knows', () => {
    expect(constraint('colour is red')).toEqual({ key: 'colour', is: 'red' });
  });
});
