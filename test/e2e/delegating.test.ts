/** Delegation as a person and as a program meet it: `agentkey agent ...` and the SDK, against a whole sandbox. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { connect, type AgentHandle, type AgentKeyClient, type AgentView } from '../../src/client/index.ts';
import { decodeJwt } from '../../src/wire/jws.ts';
import { codeOfAsync } from '../support/code-of.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

let sandbox: TestSandbox;
let client: AgentKeyClient;
let planner: AgentHandle;

const WIDE = { scopes: ['*'], aud: ['*'], expiresIn: 600 } as const;
const MESSAGE = { profile: 'rfc9421', method: 'GET', targetUri: 'https://api.example/x' } as const;

beforeAll(async () => {
  sandbox = await startSandbox();
  client = connect({ socketPath: sandbox.description.socket });
  planner = await client.createAgent({ name: 'planner', backend: 'tpm' });
  await planner.renewCredentials();
}, 180_000);
afterAll(async () => {
  client.close();
  await sandbox.remove();
}, 60_000);

async function agentkey(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const sockets = ['--socket', sandbox.description.socket, '--admin-socket', sandbox.description.adminSocket];
  const streams = { out: (text: string) => (out += text), err: (text: string) => (err += text) };
  const code = await main([...sockets, ...args], streams);
  return { code, out, err };
}

async function json<T>(...args: string[]): Promise<T> {
  const { code, out, err } = await agentkey('--json', ...args);
  expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' });
  return JSON.parse(out) as T;
}

const delegate = ['agent', 'delegate', 'planner'] as const;
const terms = ['--scope', 'pay.*', '--aud', 'https://api.example', '--expires', '10m'] as const;

/** Until it has ended, which a closed connection brings about a moment later. */
async function hasEnded(agent: string): Promise<void> {
  const ask = (): Promise<string | undefined> => codeOfAsync(() => client.agent(agent));
  for (let tries = 0; tries < 100 && (await ask()) !== 'agent_not_found'; tries += 1) await delay(50);
  expect(await ask()).toBe('agent_not_found');
}

describe('agentkey agent', { timeout: 120_000 }, () => {
  it('delegates with everything that can be said, and shows the chain', async () => {
    const bounds = ['--constraint', 'body:/to equals ACME', '--constraint', '{"key":"method","in":["POST"]}'];
    const more = [...bounds, '--budget', 'USD:30.00', '--budget', 'calls:5', '--max-depth', '2'];
    const made = await json<AgentView>(...delegate, 'payer', ...terms, ...more);
    expect(made).toMatchObject({ name: 'planner+payer', parent: 'planner', depth: 1, backend: 'tpm' });
    expect(made.delegation).toMatchObject({
      scopes: ['pay.*'],
      aud: ['https://api.example'],
      maxDepth: 2,
      ephemeral: false,
    });
    expect(made.delegation?.constraints).toEqual(
      expect.arrayContaining([
        { key: 'body:/to', equals: 'ACME' },
        { key: 'method', in: ['POST'] },
        { key: 'spend.USD.2', max_subtree: 3000 },
        { key: 'calls', max_lifetime: 5 },
      ]),
    );
    const { out } = await agentkey('agent', 'chain', 'planner+payer');
    expect(out).toMatch(/^grant\n {2}agent +spiffe:.*\/planner\n {2}principal +uid:\d+@sandbox$/m);
    expect(out).toMatch(/^ {2}approval +development$/m);
    expect(out).toMatch(/^link 1\n {2}agent +spiffe:.*\/planner\/payer\n {2}scopes +pay\.\*$/m);
    expect(out).toMatch(/constraints +.*body:\/to equals ACME.*spend\.USD\.2 max_subtree 3000/);
    const { chain } = await json<{ chain: string[] }>('agent', 'chain', 'planner+payer');
    expect((await agentkey('agent', 'chain', 'planner+payer', '--tokens')).out).toBe(`${chain.join('~')}\n`);
    const { agents } = await json<{ agents: AgentView[] }>('agent', 'children', 'planner');
    expect(agents.map(({ name }) => name)).toContain('planner+payer');
    expect((await agentkey('agent', 'children', 'planner+payer')).out).toBe('no sub-agents\n');
  });

  it('names the first rule that a wider request breaks, and exits 1', async () => {
    const below = [
      'agent',
      'delegate',
      'planner+payer',
      'x',
      ...terms.slice(0, 4),
      '--expires',
      '5m',
    ] as const;
    for (const [more, rule] of [
      [['--aud', 'https://other.example'], /audience https:\/\/other\.example/],
      [['--scope', 'mail'], /scope mail/],
      [['--budget', 'USD:30.01'], /spend\.USD\.2 max_subtree is wider/],
      [['--budget', 'EUR:1.00'], /no budget for spend\.EUR\.2/],
      [['--constraint', 'method in POST,GET'], /method in is wider/],
      [['--max-depth', '3'], /depth/],
      [['--expires', '1h'], /end after/],
    ] as const) {
      const { code, out, err } = await agentkey(...below, ...more);
      expect({ code, out }, more.join(' ')).toEqual({ code: 1, out: '' });
      expect(err).toMatch(rule);
    }
  });

  it('makes many at once, or none', async () => {
    const { agents } = await json<{ agents: AgentView[] }>(...delegate, 'w', ...terms, '--count', '3');
    expect(agents.map(({ name }) => name)).toEqual(['planner+w-1', 'planner+w-2', 'planner+w-3']);
    const taken = await agentkey(...delegate, 'w', ...terms, '--count', '5');
    expect(taken.code).toBe(1);
    expect(await codeOfAsync(() => client.agent('planner+w-4'))).toBe('agent_not_found');
    expect((await agentkey(...delegate, 'v', ...terms, '--count', '51')).code).toBe(2);
  });

  it('records what a sub-agent is for', async () => {
    const what = ['--purpose', 'invoice', '--task', 'run-7', '--note', 'for the auditor'];
    await json<AgentView>(...delegate, 'stated', ...terms, ...what);
    await planner.delegateAll([{ name: 'batched', ...WIDE }], { intent: { purpose: 'batch' } });
    const { out } = await agentkey('--json', 'audit', 'tail', '-n', '40');
    const stated = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { action?: string; intent?: unknown })
      .filter(({ action, intent }) => action === 'delegate' && intent !== undefined);
    expect(stated).toMatchObject([
      { intent: { purpose: 'invoice', task: 'run-7', note: 'for the auditor' } },
      { intent: { purpose: 'batch' } },
    ]);
  });

  it('runs a program as long as an ephemeral sub-agent lives, and exits as it does', async () => {
    const program = 'test -n "$AGENTKEYD_SOCKET" && case "$AGENTKEY_AGENT" in planner+job-e*) exit 7;; esac';
    const ran = await agentkey(...delegate, 'job', ...terms, '--ephemeral', '--', 'sh', '-c', program);
    expect(ran).toEqual({ code: 7, out: '', err: '' });
    const stopped = await agentkey(...delegate, 'job', ...terms, '--ephemeral', '--', 'sh', '-c', 'kill $$');
    expect(stopped.code).toBe(128 + 15);
    const missing = await agentkey(...delegate, 'job', ...terms, '--ephemeral', '--', '/nonexistent/program');
    expect(missing.code).toBe(2);
    expect(missing.err).toContain('/nonexistent/program');
    const left = (await planner.subAgents()).filter(({ view }) => view.delegation?.ephemeral === true);
    expect(left).toEqual([]);
  });

  it('refuses what does not go together, before anything is asked', async () => {
    for (const args of [
      [...delegate, 'x', ...terms, '--ephemeral'],
      [...delegate, 'x', ...terms, '--', 'true'],
      [...delegate, 'x', ...terms, '--count', '2', '--ephemeral', '--', 'true'],
      [...delegate, 'x', '--scope', 'a', '--aud', '*'],
      [...delegate, 'x', '--scope', 'a', '--expires', '1m'],
      [...delegate, 'x', '--aud', '*', '--expires', '1m'],
      [...delegate, 'x', ...terms, '--budget', 'USD'],
      [...delegate, 'x', ...terms, '--constraint', 'path'],
    ]) {
      const { code, out } = await agentkey(...args);
      expect({ code, out }, args.join(' ')).toEqual({ code: 2, out: '' });
    }
  });

  it('revokes a sub-agent and all below it, and no root agent', async () => {
    await json(...delegate, 'gone', ...terms);
    await json('agent', 'delegate', 'planner+gone', 'leaf', ...terms.slice(0, 4), '--expires', '5m');
    const { out } = await agentkey('agent', 'revoke', 'planner+gone', '--reason', 'compromise');
    expect(out).toMatch(/^planner\+gone and all below it have ended \(erased: local-copies\)\.\n/);
    expect((await agentkey('agent', 'show', 'planner+gone+leaf')).code).toBe(4);
    expect((await agentkey('agent', 'revoke', 'planner', '--admin')).code).toBe(1);
    expect((await agentkey('agent', 'show', 'planner')).code).toBe(0);
  });
});

describe('the SDK', { timeout: 120_000 }, () => {
  it('delegates, lists, shows the chain and revokes', async () => {
    const worker = await planner.delegate({ name: 'worker', ...WIDE });
    expect(worker.view).toMatchObject({ name: 'planner+worker', parent: 'planner', depth: 1 });
    const leaf = await worker.delegate({ name: 'leaf', ...WIDE, expiresIn: 500 });
    const chain = await leaf.chain();
    expect(chain.map((token) => decodeJwt(token).claims['del_depth'])).toEqual([0, 1, 2]);
    const { 'agentkeyd-delegation': sent } = await leaf.signHttpMessage(MESSAGE);
    expect(sent).toBe(chain.join('~'));
    expect((await worker.subAgents()).map(({ id }) => id)).toEqual([leaf.id]);
    expect((await worker.revoke()).erased).toBe('local-copies');
    expect(await codeOfAsync(() => leaf.signHttpMessage(MESSAGE))).toBe('agent_not_found');
    expect(await codeOfAsync(() => planner.revoke())).toBe('conflict');
  });

  it('makes a batch as a whole or not at all', async () => {
    const names = ['b1', 'b2', 'b3'];
    const made = await planner.delegateAll(names.map((name) => ({ name, ...WIDE })));
    expect(made.map(({ name }) => name)).toEqual(names.map((name) => `planner+${name}`));
    const wrong = [
      { name: 'b4', ...WIDE },
      { name: 'b5', ...WIDE, maxDepth: 60 },
    ];
    expect(await codeOfAsync(() => planner.delegateAll(wrong))).toBe('delegation_refused');
    expect(await codeOfAsync(() => client.agent('planner+b4'))).toBe('agent_not_found');
  });

  it('holds an ephemeral sub-agent until the end of the block', async () => {
    let name = '';
    {
      await using job = await planner.delegateEphemeral({ name: 'job', ...WIDE });
      ({ name } = job);
      expect(name).toMatch(/^planner\+job-e\d+$/);
      await Promise.all(Array.from({ length: 8 }, () => job.signHttpMessage(MESSAGE)));
    }
    expect(await codeOfAsync(() => client.agent(name))).toBe('agent_not_found');
  });

  it('ends ephemeral sub-agents with the client, and close is good for one that has ended', async () => {
    const other = connect({ socketPath: sandbox.description.socket });
    const parent = await other.agent('planner');
    const job = await parent.delegateEphemeral({ name: 'job', ...WIDE });
    const second = await parent.delegateEphemeral({ name: 'job', ...WIDE });
    await second.close();
    await second.close();
    await job.signHttpMessage(MESSAGE);
    other.close();
    await hasEnded(job.name);
  });
});
