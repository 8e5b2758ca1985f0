import { describe, expect, it } from 'vitest';
import {
  constraintCovers,
  constraints,
  decimalAtMost,
  pathHasPrefix,
  unitOf,
  type Constraint,
} from '../../../src/delegation/constraint.ts';
import { parse } from '../../../src/wire/check.ts';
import { codeOf } from '../../support/code-of.ts';

const isConstraint = (value: unknown): boolean => codeOf(() => parse(constraints, [value])) === undefined;
const covers = (parent: object, child: object): boolean =>
  constraintCovers(parent as Constraint, child as Constraint);

describe('constraints', () => {
  it.each<readonly [object]>([
    [{ key: 'spend.USD.2', max: 0 }],
    [{ key: 'spend.USD.15', max_subtree: Number.MAX_SAFE_INTEGER }],
    [{ key: 'calls', max_lifetime: 50 }],
    [{ key: 'operation', in: ['http-message', 'delegate'] }],
    [{ key: 'method', in: ['GET'] }],
    [{ key: 'path', prefix: '/' }],
    [{ key: 'path', prefix: '/a/' }],
    [{ key: 'path', in: ['/a', '/b%20c'] }],
    [{ key: 'media_type', in: ['application/json'] }],
    [{ key: 'query:to', equals: '' }],
    [{ key: 'body:/', equals: true }],
    [{ key: 'body:/a~1b/0/~0', in: ['x', 1, false] }],
    [{ key: 'body:/amount', max: '3000.00' }],
    [{ key: 'body:/amount', max: '1e3' }],
  ])('%o is one', (value) => {
    expect(isConstraint(value)).toBe(true);
  });

  it.each<readonly [string, unknown]>([
    ['no object', 'calls'],
    ['a list', []],
    ['no key', { max: 1 }],
    ['no type', { key: 'calls' }],
    ['two types', { key: 'spend.USD.2', max: 1, max_subtree: 2 }],
    ['an unknown key', { key: 'colour', in: ['red'] }],
    ['an unknown type', { key: 'calls', min: 1 }],
    ['an inherited name for a type', { key: 'calls', toString: 1 }],
    ['a type that is not of its key', { key: 'calls', max: 1 }],
    ['a unit without decimals', { key: 'spend.USD', max: 1 }],
    ['decimals beyond fifteen', { key: 'spend.USD.16', max: 1 }],
    ['decimals with a leading zero', { key: 'spend.USD.02', max: 1 }],
    ['a negative count', { key: 'spend.USD.2', max: -1 }],
    ['a fractional count', { key: 'spend.USD.2', max: 1.5 }],
    ['a count as text', { key: 'spend.USD.2', max: '1' }],
    ['a count beyond 2^53', { key: 'spend.USD.2', max: 2 ** 53 }],
    ['an empty list', { key: 'method', in: [] }],
    ['a long list', { key: 'method', in: Array.from({ length: 65 }, (_, index) => `M${index}`) }],
    ['a method that is no text', { key: 'method', in: [1] }],
    ['a nested list', { key: 'body:/a', in: [['x']] }],
    ['a query value that is no text', { key: 'query:a', equals: 1 }],
    ['a relative prefix', { key: 'path', prefix: 'a' }],
    ['a prefix with a dot segment', { key: 'path', prefix: '/a/../b' }],
    ['a prefix with an encoded dot segment', { key: 'path', prefix: '/a/%2e%2e/b' }],
    ['a prefix with an empty segment', { key: 'path', prefix: '/a//b' }],
    ['a prefix with a query', { key: 'path', prefix: '/a?b' }],
    ['a prefix with a fragment', { key: 'path', prefix: '/a#b' }],
    ['a path of another spelling', { key: 'path', in: ['/%61'] }],
    ['a member without pointer', { key: 'body:amount', max: '1' }],
    ['a pointer with a lone tilde', { key: 'body:/a~', equals: 'x' }],
    ['a pointer with an unknown escape', { key: 'body:/a~2', equals: 'x' }],
    ['a fraction for a scalar', { key: 'body:/a', equals: 1.5 }],
    ['null', { key: 'body:/a', equals: null }],
    ['a decimal that is a number', { key: 'body:/a', max: 3000 }],
    ['a decimal that is no JSON number', { key: 'body:/a', max: '3,000' }],
    ['a negative decimal', { key: 'body:/a', max: '-1' }],
    ['a negative zero', { key: 'body:/a', max: '-0' }],
    ['a decimal larger than any that is compared', { key: 'body:/a', max: '1e30' }],
    ['a decimal finer than any that is compared', { key: 'body:/a', max: '1e-19' }],
    ['an empty decimal', { key: 'body:/a', max: '' }],
  ])('%s is none', (_, value) => {
    expect(isConstraint(value)).toBe(false);
  });

  it('are there once by key and type, and at most 64', () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, index) => ({ key: `body:/m${index}`, equals: 'x' }));
    expect(codeOf(() => parse(constraints, many(64)))).toBeUndefined();
    expect(codeOf(() => parse(constraints, many(65)))).toBe('malformed_request');
    const twice = [
      { key: 'body:/a', equals: 'x' },
      { key: 'body:/a', equals: 'y' },
    ];
    expect(codeOf(() => parse(constraints, twice))).toBe('malformed_request');
    expect(codeOf(() => parse(constraints, [twice[0], { key: 'body:/a', in: ['x'] }]))).toBeUndefined();
  });

  it.each<readonly [object, object, boolean]>([
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max: 5 }, true],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max: 6 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.3', max: 5 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.EUR.2', max: 1 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max_subtree: 1 }, false],
    [{ key: 'method', in: ['GET', 'PUT'] }, { key: 'method', in: ['PUT'] }, true],
    [{ key: 'method', in: ['GET'] }, { key: 'method', in: ['GET', 'PUT'] }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/a/b' }, true],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/a/' }, true],
    [{ key: 'path', prefix: '/a/' }, { key: 'path', prefix: '/a' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/ab' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', in: ['/a/b'] }, false],
    [{ key: 'body:/a', equals: 1 }, { key: 'body:/a', equals: '1' }, false],
    [{ key: 'body:/a', equals: 'x' }, { key: 'body:/a', equals: 'x' }, true],
    [{ key: 'body:/a', in: ['x', 1] }, { key: 'body:/a', in: [1] }, true],
    [{ key: 'body:/a', in: ['x', 1] }, { key: 'body:/a', in: ['1'] }, false],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '10.00' }, true],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '10.000000000000000001' }, false],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '9' }, true],
  ])('%o over %o: %s', (parent, child, expected) => {
    expect(covers(parent, child)).toBe(expected);
  });

  it('compare decimals exactly', () => {
    expect(decimalAtMost('3000.00', '3000')).toBe(true);
    expect(decimalAtMost('3000.0000000000000001', '3000')).toBe(false);
    expect(decimalAtMost('0.1e1', '1')).toBe(true);
    expect(decimalAtMost('-1', '1')).toBe(false);
    expect(decimalAtMost('x', '1')).toBe(false);
  });

  it('know prefixes by segments, and units', () => {
    expect(pathHasPrefix('/a/b', '/a')).toBe(true);
    expect(pathHasPrefix('/ab', '/a')).toBe(false);
    expect(pathHasPrefix('/ab', '/')).toBe(true);
    expect([unitOf('spend.USD.2'), unitOf('calls'), unitOf('path')]).toEqual(['USD.2', 'calls.0', undefined]);
  });
});
