import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  aauthId,
  isNamePattern,
  matchesNamePattern,
  parseAgentName,
  parseRootAgentName,
  spiffeId,
  subAgentName,
} from '../../../src/wire/agent-name.ts';
import { codeOf } from '../../support/code-of.ts';

describe('agent names (DECISIONS 6)', () => {
  it('are segments joined by "+"', () => {
    const name = subAgentName(subAgentName(parseRootAgentName('planner'), 'w.1'), 'x_y-z');
    expect(name).toEqual({ text: 'planner+w.1+x_y-z', segments: ['planner', 'w.1', 'x_y-z'], depth: 2 });
    expect(parseAgentName('0'.padEnd(63, 'a')).depth).toBe(0);
  });

  it.each([
    '',
    '+',
    'a+',
    '+a',
    'a++b',
    'A',
    'a b',
    'a/b',
    '.a',
    '-a',
    '_a',
    'é',
    'a'.repeat(64),
    'a\n',
    'a*',
    'a@b',
  ])('S6: %j is no name', (text) => {
    expect(codeOf(() => parseAgentName(text))).toBe('invalid_name');
  });

  it('S6: "+" is reserved to sub-agents', () => {
    expect(codeOf(() => parseRootAgentName('a+b'))).toBe('invalid_name');
    expect(codeOf(() => subAgentName(parseAgentName('a'), 'b+c'))).toBe('invalid_name');
    expect(codeOf(() => parseAgentName(Array.from({ length: 20 }, () => 'a'.repeat(60)).join('+')))).toBe(
      'invalid_name',
    );
  });

  it('give SPIFFE and AAuth identifiers, AAuth to depth 1', () => {
    const [a, ab, abc] = ['a', 'a+b', 'a+b+c'].map(parseAgentName);
    if (a === undefined || ab === undefined || abc === undefined) throw new Error('names');
    expect(spiffeId('td.example', 'host1', abc)).toBe('spiffe://td.example/agent/host1/a/b/c');
    expect(aauthId('host1', a, 'ap.example')).toBe('aauth:host1.a@ap.example');
    expect(aauthId('host1', ab, 'ap.example')).toBe('aauth:host1.a+b@ap.example');
    expect(aauthId('host1', abc, 'ap.example')).toBeNull();
  });

  it.each(['Host', 'a.b', '-a', 'a-', '', 'a/b', 'a'.repeat(64)])('%j is no host label', (host) => {
    expect(codeOf(() => spiffeId('td.example', host, parseAgentName('a')))).toBe('invalid_name');
    expect(codeOf(() => aauthId(host, parseAgentName('a'), 'ap.example'))).toBe('invalid_name');
  });

  it.each(['', 'TD', 'td/x', 'td@x'])('%j is no trust domain and no AAuth domain', (domain) => {
    expect(codeOf(() => spiffeId(domain, 'h', parseAgentName('a')))).toBe('invalid_name');
    expect(codeOf(() => aauthId('h', parseAgentName('a'), domain))).toBe('invalid_name');
  });
});

describe('name patterns', () => {
  it.each([
    ['*', 'anything', true],
    ['payments-*', 'payments-prod', true],
    ['payments-*', 'payments-', true],
    ['payments-*', 'payments', false],
    ['payments-*', 'xpayments-prod', false],
    ['*-prod', 'payments-prod', true],
    ['*-prod', 'payments-prod2', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'acb', false],
    ['a.b', 'axb', false],
    ['planner', 'planner', true],
    ['*', 'a+b', false],
    ['a*', 'a+b', false],
    ['a+b', 'a+b', false],
    ['', 'a', false],
    ['[a-z]*', 'a', false],
  ])('%j and %j: %s', (pattern, name, matches) => {
    expect(matchesNamePattern(pattern, parseAgentName(name))).toBe(matches);
  });

  it('match as the regular expression does, and never take long', () => {
    const unit = fc.constantFrom('a', 'b', '*', '-');
    fc.assert(
      fc.property(
        fc.string({ unit, minLength: 1, maxLength: 8 }),
        fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength: 10 }),
        (pattern, rest) => {
          const name = parseAgentName(`a${rest}`);
          const wanted =
            isNamePattern(pattern) && new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(name.text);
          expect(matchesNamePattern(pattern, name)).toBe(wanted);
        },
      ),
    );
    const slow = `${'a*'.repeat(31)}b`;
    expect(matchesNamePattern(slow, parseAgentName('a'.repeat(63)))).toBe(false);
  });
});
