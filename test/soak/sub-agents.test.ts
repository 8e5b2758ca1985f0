/**
 * Many sub-agents: a thousand that end at once, ten thousand ephemeral ones that leave nothing. Fewer of them
 * unless AGENTKEYD_SOAK=1 (`npm run test:soak`).
 */
import { Agent as HttpAgent } from 'node:http';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';
import { transientHandles } from '../support/tpm2-tools.ts';

const IS_SOAK = process.env['AGENTKEYD_SOAK'] === '1';
const CHILDREN = IS_SOAK ? 1_000 : 100;
const EPHEMERAL = IS_SOAK ? 10_000 : 200;
const BATCH = 50;
const CALLERS = 8;
const TIMEOUT_MS = IS_SOAK ? 20 * 60_000 : 180_000;
/** Of the whole process; what a heap holds back for itself is no leak. */
const MAX_GROWTH_MIB = 64;

const WIDE = { scopes: ['*'], aud: ['*'], constraints: [], expiresIn: 3000 };

let host: GrantedHost;

const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string }).code ?? String(status));

const sign = (agent: string, connection?: HttpAgent): Promise<SocketAnswer> =>
  host.daemon.request(
    'POST',
    `/v1/agents/${agent}/sign/http-message`,
    { profile: 'rfc9421', method: 'GET', targetUri: 'https://api.example/x' },
    connection === undefined ? {} : { agent: connection },
  );

const residentMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024;

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Rows of every table of the state. */
const rows = (): Readonly<Record<string, number>> => {
  const database = new DatabaseSync(join(host.daemon.stateDirectory, 'state.db'), { readOnly: true });
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    return Object.fromEntries(
      tables.map(({ name }) => {
        const { count } = database.prepare(`SELECT count(*) AS count FROM "${String(name)}"`).get() ?? {};
        return [String(name), Number(count)] as const;
      }),
    );
  } finally {
    database.close();
  }
};

/** What the soak test measured, for whoever ran it. */
const report = (figures: Readonly<Record<string, unknown>>): void => {
  if (IS_SOAK) process.stdout.write(`${JSON.stringify(figures)}\n`);
};

beforeAll(async () => {
  host = await startGrantedHost({ config: { limits: { agents_per_caller: 20_000 } } });
  await host.agent('planner');
}, 120_000);
afterAll(() => host.remove());

it(
  `S18: ${CHILDREN} children in use end with their parent, none signs anything more`,
  async () => {
    const parent = await host.daemon.request('POST', '/v1/agents/planner/delegations', {
      name: 'p',
      ...WIDE,
    });
    expect(code(parent)).toBe('done');
    const names: string[] = [];
    for (let made = 0; made < CHILDREN; made += BATCH) {
      const batch = Array.from({ length: BATCH }, (_, index) => ({
        name: `c${made + index}`,
        ...WIDE,
        expiresIn: 2900,
      }));
      const answer = await host.daemon.request('POST', '/v1/agents/planner+p/delegations', { batch });
      if (answer.status !== 201) throw new Error(answer.text);
      names.push(...batch.map(({ name }) => `planner+p+${name}`));
    }
    expect(names).toHaveLength(CHILDREN);
    let signed = 0;
    let revoked = false;
    const afterwards: string[] = [];
    const use = async (start: number): Promise<void> => {
      for (let index = start; ; index += 1) {
        const begunAfter = revoked;
        const result = code(await sign(names[index % names.length] ?? ''));
        if (begunAfter) {
          afterwards.push(result);
          if (afterwards.length > CALLERS * 20) return;
        } else if (result === 'done') signed += 1;
      }
    };
    const users = Promise.all(Array.from({ length: CALLERS }, (_, index) => use(index * 7)));
    await until(
      () => host.daemon.request('GET', '/v1/status'),
      () => signed >= names.length / 2,
    );
    const asked = performance.now();
    const ended = await host.daemon.request('POST', '/v1/agents/planner+p/revoke', {});
    revoked = true;
    const answeredMs = Math.round(performance.now() - asked);
    expect(code(ended)).toBe('done');
    await users;
    expect(new Set(afterwards)).toEqual(new Set(['agent_not_found']));
    expect(code(await sign('planner'))).toBe('done');
    await until(
      () => host.daemon.request('GET', '/v1/status'),
      () => rows()['doomed_keys'] === 0,
    );
    const keysGoneMs = Math.round(performance.now() - asked);
    report({
      children: names.length,
      signedBefore: signed,
      answeredMs,
      keysGoneMs,
      refusedAfter: afterwards.length,
    });
  },
  TIMEOUT_MS,
);

it(
  `S15: ${EPHEMERAL} ephemeral sub-agents are made, sign and end in their connection, and leave nothing`,
  async () => {
    const one = async (): Promise<void> => {
      const connection = new HttpAgent({ keepAlive: true, maxSockets: 1 });
      const made = await host.daemon.request(
        'POST',
        '/v1/agents/planner/delegations',
        { name: 'job', ...WIDE, expiresIn: 60, ephemeral: true },
        { agent: connection },
      );
      if (made.status !== 201) throw new Error(made.text);
      const { agent } = made.json as { agent: { name: string } };
      expect(code(await sign(agent.name, connection))).toBe('done');
      connection.destroy();
    };
    const settled = async (): Promise<void> => {
      await until(
        () => host.daemon.request('GET', '/v1/agents'),
        ({ json }) => (json as { agents: readonly unknown[] }).agents.length === 1,
      );
    };
    const pid = host.daemon.pid ?? 0;
    for (let count = 0; count < EPHEMERAL / 4; count += 1) await one();
    await settled();
    const before = { rows: rows(), files: openFiles(pid), memoryMiB: residentMiB(pid) };
    for (let count = 0; count < EPHEMERAL; count += 1) await one();
    await settled();
    const after = { rows: rows(), files: openFiles(pid), memoryMiB: residentMiB(pid) };
    report({ ephemeral: EPHEMERAL, before, after });
    expect(after.rows).toEqual(before.rows);
    expect(after.files).toBeLessThanOrEqual(before.files + 4);
    expect(after.memoryMiB - before.memoryMiB).toBeLessThan(MAX_GROWTH_MIB);
    await host.daemon.stop();
    const handles = await transientHandles(host.tpm);
    report({ ephemeral: EPHEMERAL, handlesAfterStop: handles.length });
    expect(handles).toEqual([]);
  },
  TIMEOUT_MS,
);
