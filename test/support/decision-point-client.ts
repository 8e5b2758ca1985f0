/** A client of an external decision point with what it logs and measures; each test has its own. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { makeTls, type SandboxTls } from '../../scripts/sandbox/tls.ts';
import { createLogger } from '../../src/base/logger.ts';
import {
  AuthzenDecisionPoint,
  type AuthzenOptions,
} from '../../src/policy/authzen/authzen-decision-point.ts';
import type { SecondOpinion } from '../../src/policy/decision.ts';
import type { Obligations } from '../../src/policy/verdict.ts';
import { startDecisionPoint, type DecisionPointPlace, type TestDecisionPoint } from './decision-point.ts';
import { httpMessage } from './policy-request.ts';
import { stay } from './signing-fixture.ts';
import { makeTempDir, type TempDir } from './temp-dir.ts';

export const FREE: Obligations = { approval: 'none', charges: [], scopes: [] };
/** Long enough that no test waits for it. */
const AMPLE_MS = 30_000;
export const SECRET = 'VERYSECRETBODY';

export let temp: TempDir;
export let tls: SandboxTls;
const cleanUp: (() => Promise<void>)[] = [];
export let log: string;
export let measured: string[];

beforeAll(async () => {
  temp = await makeTempDir();
  await mkdir(join(temp.path, 'tls'));
  tls = await makeTls(join(temp.path, 'tls'));
});
afterAll(() => temp.remove());
beforeEach(() => {
  log = '';
  measured = [];
});
afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

export async function server(place?: DecisionPointPlace): Promise<TestDecisionPoint> {
  const point = await startDecisionPoint(place);
  cleanUp.push(() => point.stop());
  return point;
}

type Given = Partial<AuthzenOptions['endpoint']> & { readonly deadlineMs?: number };

export function client({ deadlineMs = AMPLE_MS, ...endpoint }: Given): AuthzenDecisionPoint {
  const point = new AuthzenDecisionPoint({
    endpoint: { url: '', socketPath: undefined, ca: undefined, token: undefined, ...endpoint },
    deadlineMs,
    sent: { documents: new Set(['body', 'query', 'claims']), headers: [] },
    host: () => undefined,
    log: createLogger({
      name: 'test',
      level: 'debug',
      destination: {
        write: (line) => {
          log += line;
        },
      },
    }),
    measured: (outcome) => measured.push(outcome),
  });
  cleanUp.push(() => point.close());
  return point;
}

export const question = () =>
  httpMessage({
    method: 'POST',
    headers: [['content-type', 'application/json']],
    body: `{"note":"${SECRET}"}`,
  });

export const ask = (point: AuthzenDecisionPoint, signal = stay()): Promise<SecondOpinion> =>
  point.ask(question(), FREE, signal);

export const said = (opinion: SecondOpinion): string => (opinion.permitted ? 'permit' : opinion.refusal.code);
