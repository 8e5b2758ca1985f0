/** `agentkey policy check`, `test` and `explain`: offline, over files as people write them. */
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { main } from '../../../src/cli/main.ts';

const POLICIES = join(import.meta.dirname, '..', '..', '..', 'policies');

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ak-policy-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function policy(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await main(['policy', ...args], {
    out: (text) => (out += text),
    err: (text) => (err += text),
  });
  return { code, out, err };
}

const put = async (name: string, text: string): Promise<string> => {
  await writeFile(join(dir, name), text, { mode: 0o644 });
  return join(dir, name);
};

const CASES = `
policies = ["a.cedar"]
[given]
now = 2026-11-26T12:00:00Z
caller.uid = 1000
agent.name = "planner"
request = { operation = "http-message", method = "GET", targetUri = "https://a.example/" }
[[case]]
name = "reads"
expect = "permit"
policies = ["reads"]
[[case]]
name = "writes"
request.method = "POST"
expect = "deny"
`;
const READS =
  '@id("reads") permit (principal, action == Action::"http-message", resource) when { context.method == "GET" };';

describe('check', () => {
  it('tells the set and its fingerprint', async () => {
    await put('a.cedar', READS);
    const { code, out } = await policy('check', dir);
    expect({ code, out }).toMatchObject({
      code: 0,
      out: /^1 policies are good, fingerprint [0-9a-f]{64}\n$/,
    });
  });

  it('tells all faults of all files at once, with file and line, and exits 1', async () => {
    await put('a.cedar', `// one\n${READS.replace('method ==', 'metod ==')}`);
    await put('b.cedar', READS.replace('@id("reads")', ''));
    await put(
      'c.cedar',
      `@id("x") permit (principal, action, resource) when {\n  principal has executableSha256 && principal.executableSha256 == "a" };`,
    );
    const { code, err } = await policy('check', dir);
    expect(code).toBe(1);
    for (const part of [/a\.cedar:2: .*metod/, /b\.cedar:1: .*@id/, /c\.cedar:1: .*S10/])
      expect(err).toMatch(part);
    const json = await policy('--json', 'check', dir);
    expect((JSON.parse(json.err) as { faults: unknown[] }).faults).toHaveLength(3);
  });

  it('refuses a file that others may write, and a directory that is none', async () => {
    await chmod(await put('a.cedar', READS), 0o666);
    expect(await policy('check', dir)).toMatchObject({
      code: 1,
      err: expect.stringContaining('chmod go-w') as string,
    });
    expect((await policy('check', join(dir, 'none'))).code).toBe(1);
  });
});

describe('test', () => {
  it('every case that is shipped comes out, each file by the policies it names', async () => {
    const files = (await readdir(POLICIES, { recursive: true })).filter((name) =>
      name.endsWith('.cases.toml'),
    );
    expect(files).toEqual(
      expect.arrayContaining(['unusual-use.cases.toml', 'examples/payment-3000.cases.toml']),
    );
    const { code, out } = await policy('test', ...files.map((name) => join(POLICIES, name)));
    expect(out).toMatch(/^\d+ cases, \d+ as expected, 0 not$/m);
    expect(code).toBe(0);
  });

  it('names the cases that do not come out, says what was found, and exits 1', async () => {
    await put('a.cedar', READS.replace('"GET"', '"POST"'));
    const file = await put('a.cases.toml', CASES);
    const { code, out, err } = await policy('test', file);
    expect(code).toBe(1);
    expect(out).toContain('  FAIL  reads\n        expected permit, found deny\n');
    expect(out).toContain('  FAIL  writes\n        expected deny, found permit\n');
    expect(out).toMatch(/^2 cases, 0 as expected, 2 not$/m);
    expect(err).toContain('2 of 2 cases');
    const json = await policy('--json', 'test', file);
    expect(JSON.parse(json.out)).toMatchObject({
      cases: 2,
      failed: 2,
      files: [
        {
          results: [
            { name: 'reads', found: { decision: 'deny', code: 'policy_denied' } },
            { name: 'writes' },
          ],
        },
      ],
    });
  });

  it('judges by --policies instead of what the file names', async () => {
    const file = await put('a.cases.toml', CASES);
    expect(await policy('test', file)).toMatchObject({ code: 1, err: /a\.cedar can not be read/ });
    const other = await mkdtemp(join(tmpdir(), 'ak-policy-'));
    await writeFile(join(other, 'b.cedar'), READS, { mode: 0o644 });
    expect((await policy('test', '--policies', other, file)).code).toBe(0);
    await rm(other, { recursive: true });
  });

  it.each([
    [
      'a member nobody knows',
      CASES.replace('expect = "deny"', 'expects = "deny"'),
      /expects is not a known member/,
    ],
    ['a decision that is none', CASES.replace('"permit"', '"allow"'), /expect must be one of/],
    ['a time without its offset', CASES.replace('12:00:00Z', '12:00:00'), /offset/],
    ['one name twice', CASES.replace('"writes"', '"reads"'), /two cases/],
    ['no TOML', CASES.replace('[given]', '[given'), /line 3/],
  ])('refuses %s', async (_what, text, reason) => {
    await put('a.cedar', READS);
    const { code, err } = await policy('test', await put('a.cases.toml', text));
    expect(code).toBe(1);
    expect(err).toMatch(reason);
  });

  it('a case that is not understood is wrong usage, not a denial', async () => {
    await put('a.cedar', READS);
    const text = CASES.replace('request.method = "POST"', 'request.metod = "POST"');
    expect(await policy('test', await put('a.cases.toml', text))).toMatchObject({ code: 2, err: /metod/ });
  });
});

describe('explain', () => {
  it('says which condition fails, what the request says there, and what would have to be different', async () => {
    await put('a.cedar', READS);
    const file = await put('a.cases.toml', CASES);
    const { code, out } = await policy('explain', file, 'writes');
    expect(code).toBe(0);
    expect(out).toMatch(/^deny policy_denied: no policy permits http-message of planner by uid 1000$/m);
    expect(out).toContain(
      'permit reads (a.cedar:1): not satisfied\n  FAILS  context.method == "GET"   # context.method is "POST"',
    );
    expect(out).toContain('  - reads would permit it if: context.method == "GET" (context.method is "POST")');
    const json = await policy('--json', 'explain', file, 'writes');
    expect(JSON.parse(json.out)).toMatchObject({
      case: 'writes',
      outcome: { decision: 'deny' },
      policies: [
        {
          id: 'reads',
          outcome: 'not-satisfied',
          conditions: [{ result: 'fails', values: { 'context.method': '"POST"' } }],
        },
      ],
    });
  });

  it('says which exception of a forbid is missing', async () => {
    const file = join(POLICIES, 'examples', 'payment-3000.cases.toml');
    const { out } = await policy('explain', file, '3,000.01');
    expect(out).toMatch(
      /^ {2}- payment-3000-nothing-else forbids it unless: \S*lessThanOrEqual\(decimal\("3000\.00"\)\) /m,
    );
  });

  it('wants the name of a case where there are several', async () => {
    await put('a.cedar', READS);
    const file = await put('a.cases.toml', CASES);
    expect(await policy('explain', file)).toMatchObject({ code: 2, err: /- reads\n {2}- writes/ });
    expect((await policy('explain', file, 'neither')).code).toBe(2);
  });
});
