import { expect, it } from 'vitest';
import { compilePolicy } from '../../../../src/policy/cedar/compile-policy.ts';
import { OriginIndex } from '../../../../src/policy/cedar/origin-index.ts';

const POLICIES = [
  'resource in Agent::"a"',
  'resource == Agent::"b"',
  'resource',
  'resource in Agent::"a") when { context.origin == "https://one.example" }; //',
  'resource) when { context.origin == "https://one.example" }; //',
  'resource) when { context.origin == "https://two.example" }; //',
].flatMap((rest, index) => {
  const text = `@id("p${index}") permit (principal, action == Action::"http-message", ${rest});`;
  return compilePolicy('test.cedar', { text: text.replace(/ \/\/\);$/, ''), line: 1 }).policy ?? [];
});

function ids(index: OriginIndex, agent: string, origin?: string): string {
  return index
    .covering(agent, origin)
    .map(({ id }) => id)
    .join(' ');
}

it('finds by agent and origin, in file order, and the same once it remembers', () => {
  const index = new OriginIndex(POLICIES);
  for (let round = 0; round < 2; round += 1) {
    expect(ids(index, 'a', 'https://one.example')).toBe('p0 p2 p3 p4');
    expect(ids(index, 'a', 'https://two.example')).toBe('p0 p2 p5');
    expect(ids(index, 'a', 'https://else.example')).toBe('p0 p2');
    expect(ids(index, 'a')).toBe('p0 p2 p3 p4 p5');
    expect(ids(index, 'a+x', 'https://one.example')).toBe('p0 p2 p3 p4');
    expect(ids(index, 'b', 'https://one.example')).toBe('p1 p2 p4');
    expect(ids(index, 'b')).toBe('p1 p2 p4 p5');
  }
});

it('remembers nothing by an origin that no policy names, and a bounded number of lists', () => {
  const index = new OriginIndex(POLICIES);
  index.covering('a', 'https://else.example');
  const { remembered } = index;
  for (let number = 0; number < 1000; number += 1) index.covering('a', `https://${number}.example`);
  expect(index.remembered).toBe(remembered);
  let most = 0;
  for (let number = 0; number < 200_000; number += 1) {
    index.covering(`n${number}`, 'https://one.example');
    most = Math.max(most, index.remembered);
  }
  expect(most).toBeGreaterThan(200_000);
  expect(most).toBeLessThanOrEqual(262_144);
  expect(ids(index, 'a', 'https://one.example')).toBe('p0 p2 p3 p4');
});
