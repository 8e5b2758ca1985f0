import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/base/logger.ts';
import { logRecorder } from '../../../src/policy/log-recorder.ts';
import { requireAction } from '../../../src/policy/require-action.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { caller, signingFixture } from '../../support/signing-fixture.ts';

function recording() {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({
    name: 'policy',
    level: 'debug',
    destination: { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const { authorizer } = signingFixture({ policy: { quote: [{ uids: [1000] }] } });
  return { lines, gate: { authorizer, recorder: logRecorder(log) } };
}

const QUOTE = { action: 'host-quote', audience: 'verifier.example', pcrs: [0, 7] } as const;

describe('decisions in the log', () => {
  it('say who, what, and by which rule; the outcome follows', async () => {
    const { lines, gate } = recording();
    expect(
      await requireAction(gate, caller({ unit: 'planner.service' }), QUOTE, () => Promise.resolve(7)),
    ).toBe(7);
    expect(lines).toMatchObject([
      {
        level: 'info',
        msg: 'permitted',
        action: 'host-quote',
        effect: 'permit',
        policies: ['quote[0]'],
        policyVersion: 1,
        share: 'unit:planner.service:1000',
        ingress: 'shared',
        uid: 1000,
        parameters: { audience: 'verifier.example', pcrs: '0,7' },
      },
      { level: 'debug', msg: 'done', action: 'host-quote' },
    ]);
  });

  it('a denial stops the action and is a warning', async () => {
    const { lines, gate } = recording();
    let acted = false;
    const code = await codeOfAsync(() =>
      requireAction(gate, caller({ uid: 1001 }), QUOTE, () => {
        acted = true;
        return Promise.resolve();
      }),
    );
    expect([code, acted]).toEqual(['policy_denied', false]);
    expect(lines).toMatchObject([{ level: 'warn', msg: 'denied', refusal: 'policy_denied', uid: 1001 }]);
  });

  it('what fails after it was permitted is on record as that', async () => {
    const { lines, gate } = recording();
    const fault = new KeydError('tpm_unavailable', 'gone');
    const act = () => Promise.reject(fault);
    await expect(requireAction(gate, caller(), QUOTE, act)).rejects.toBe(fault);
    expect(lines.at(-1)).toMatchObject({ level: 'warn', code: 'tpm_unavailable' });
  });
});
