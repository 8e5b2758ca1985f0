/**
 * The daemon against a real decision point: OPA as it is, with the example of examples/opa. `npm run test:pdp` builds
 * OPA and names it in AGENTKEYD_OPA; without it these tests are skipped.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTls } from '../../scripts/sandbox/tls.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { AuthzenDecisionPoint } from '../../src/policy/authzen/authzen-decision-point.ts';
import type { EvaluationEndpoint } from '../../src/policy/authzen/evaluation-channel.ts';
import type { Obligations } from '../../src/policy/verdict.ts';
import { codeOfAnswer, startGatedHost, type GatedHost } from '../support/gated-host.ts';
import { dpop, httpMessage } from '../support/policy-request.ts';
import { stay } from '../support/signing-fixture.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';
import { freePort } from '../../scripts/sandbox/free-port.ts';

const OPA = process.env['AGENTKEYD_OPA'] ?? '';
const EXAMPLE = join(import.meta.dirname, '..', '..', 'examples', 'opa', 'agentkeyd.rego');
const FREE: Obligations = { approval: 'none', charges: [], scopes: [] };
const PATH = '/v0/data/agentkeyd/response';
const TOKEN = 'a-token-of-this-test';
const QUESTIONS = 500;

if (OPA === '')
  process.stderr.write('AGENTKEYD_OPA is not set: NOTHING IS TESTED AGAINST A REAL OPA (npm run test:pdp)\n');

describe.skipIf(OPA === '')('OPA', () => {
  let temp: TempDir;
  let host: GatedHost;
  const running: ChildProcess[] = [];
  const points: AuthzenDecisionPoint[] = [];

  const opa = async (...args: readonly string[]): Promise<ChildProcess> => {
    const child = spawn(OPA, ['run', '--server', '--disable-telemetry', '--log-level', 'error', ...args], {
      stdio: 'ignore',
    });
    running.push(child);
    await once(child, 'spawn');
    return child;
  };
  const point = (endpoint: Partial<EvaluationEndpoint>): AuthzenDecisionPoint => {
    const made = new AuthzenDecisionPoint({
      endpoint: { url: '', socketPath: undefined, ca: undefined, token: undefined, ...endpoint },
      deadlineMs: 10_000,
      sent: { documents: new Set(['body', 'query', 'claims']), headers: [] },
      host: () => undefined,
      log: silentLogger,
      measured: () => undefined,
    });
    points.push(made);
    return made;
  };

  beforeAll(async () => {
    temp = await makeTempDir();
    const socketPath = join(temp.path, 'opa');
    await opa('--addr', `unix://${socketPath}`, EXAMPLE);
    await until(() => answers({ socketPath, path: '/health' }));
    host = await startGatedHost({
      socket: socketPath,
      url: `http://localhost${PATH}`,
      deadline_ms: 5000,
    });
    await host.agent('payments');
  }, 180_000);
  afterAll(async () => {
    await host.remove();
    for (const made of points) await made.close();
    for (const child of running) child.kill();
    await temp.remove();
  });

  it('permits and denies what the daemon’s own policies permit', async () => {
    expect(codeOfAnswer(await host.read('https://api.example/'))).toBe('signed');
    expect(codeOfAnswer(await host.read('https://api.elsewhere.test/'))).toBe('decision_point_denied');
    expect(codeOfAnswer(await host.pay('12.50'))).toBe('signed');
    expect(codeOfAnswer(await host.pay('5000.01'))).toBe('decision_point_denied');
    expect(codeOfAnswer(await host.pay('12.50', { targetUri: 'https://bank.test/v1/payments' }))).toBe(
      'decision_point_denied',
    );
    const refused = (await host.decisions()).at(-1);
    expect(refused).toMatchObject({ policies: ['decision-point'], refusal: 'decision_point_denied' });
  });

  it('denies where its policy has no value', async () => {
    const socketPath = join(temp.path, 'opa');
    const nothing = point({ url: 'http://localhost/v0/data/agentkeyd/nothing', socketPath });
    expect(await nothing.ask(httpMessage(), FREE, stay())).toMatchObject({
      refusal: { code: 'decision_point_invalid' },
    });
    // The v1 API wraps what it is asked and what it answers: that is not AuthZEN, and no permit.
    const wrapped = point({ url: 'http://localhost/v1/data/agentkeyd/response', socketPath });
    expect(await wrapped.ask(httpMessage(), FREE, stay())).toMatchObject({
      refusal: { code: 'decision_point_invalid' },
    });
  });

  it('is asked over TLS with a token', async () => {
    const tls = await makeTls(join(temp.path, 'tls'));
    const authorization = join(temp.path, 'authorization.rego');
    await writeFile(
      authorization,
      `package system.authz\n\ndefault allow := false\n\nallow if input.identity == "${TOKEN}"\n`,
    );
    const port = await freePort('127.0.0.1');
    await opa(
      ...['--addr', `127.0.0.1:${port}`, '--tls-cert-file', tls.certificateFile],
      ...['--tls-private-key-file', tls.keyFile],
      ...['--authentication', 'token', '--authorization', 'basic', EXAMPLE, authorization],
    );
    const url = `https://localhost:${port}${PATH}`;
    const ca = await readFile(tls.caFile, 'utf8');
    const asked = point({ url, ca, token: TOKEN });
    const question = httpMessage({ method: 'GET', targetUri: 'https://api.example/' });
    await until(async () => (await asked.ask(question, FREE, stay())).permitted);
    expect(await asked.ask(dpop({ htm: 'GET', htu: 'https://api.example/' }), FREE, stay())).toMatchObject({
      refusal: { code: 'decision_point_denied' },
    });
    expect(await point({ url, ca }).ask(question, FREE, stay())).toMatchObject({
      refusal: { code: 'decision_point_invalid' },
    });
    expect(await point({ url, token: TOKEN }).ask(question, FREE, stay())).toMatchObject({
      refusal: { code: 'decision_point_unavailable' },
    });
  });

  it('takes this long (told, not judged)', async () => {
    const asked = point({ url: `http://localhost${PATH}`, socketPath: join(temp.path, 'opa') });
    const question = httpMessage({ method: 'GET', targetUri: 'https://api.example/' });
    const times: number[] = [];
    for (let turn = 0; turn < QUESTIONS; turn += 1) {
      const began = performance.now();
      expect((await asked.ask(question, FREE, stay())).permitted).toBe(true);
      times.push(performance.now() - began);
    }
    const sorted = times.toSorted((left, right) => left - right);
    const at = (share: number): string => (sorted[Math.floor(share * QUESTIONS)] ?? 0).toFixed(2);
    process.stderr.write(`OPA over a Unix socket: median ${at(0.5)} ms, 95th percentile ${at(0.95)} ms\n`);
  });

  it('denies everything once it is gone', async () => {
    for (const child of running) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    expect(codeOfAnswer(await host.read('https://api.example/'))).toBe('decision_point_unavailable');
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('OPA is not ready in time');
    await delay(50);
  }
}

function answers(where: { readonly socketPath: string; readonly path: string }): Promise<boolean> {
  if (!existsSync(where.socketPath)) return Promise.resolve(false);
  return new Promise((resolve) => {
    request(where, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    })
      .on('error', () => {
        resolve(false);
      })
      .end();
  });
}
