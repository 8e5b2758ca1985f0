import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appraiseEnrolment } from '../../../src/issuer/verifier/appraise-enrolment.ts';
import { appraiseKey } from '../../../src/issuer/verifier/appraise-key.ts';
import { appraiseReattestation } from '../../../src/issuer/verifier/appraise-reattestation.ts';
import { CHECKS, CHECKS_NOT_BUILT } from '../../../src/issuer/verifier/checks.ts';
import type { HostStanding } from '../../../src/issuer/verifier/host-standing.ts';
import { AttestedHost } from '../../support/attested-host.ts';
import {
  createHostKeys,
  enrolledStanding,
  enrolmentInput,
  keyInput,
  nameHex,
  reattestationInput,
  type HostKeys,
} from './scenario.ts';

describe('an honest host with a real TPM', () => {
  let host: AttestedHost;
  let keys: HostKeys;
  let standing: HostStanding;

  beforeAll(async () => {
    host = await AttestedHost.start();
    keys = await createHostKeys(host);
    standing = await enrolledStanding(host, keys);
  });
  afterAll(async () => {
    await host.stop();
  });

  it('enrols with checks 1 to 22, is software because of its root, and says which policy took it', async () => {
    const result = appraiseEnrolment(await enrolmentInput(host, keys));
    expect(result.passed).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22,
    ]);
    expect(result.ak.akId).toBe(nameHex(keys.ak));
    expect(result.history).toBe('first');
    expect(result.endorsement).toMatchObject({ kind: 'test', tpm: { family: '2.0', model: 'swtpm' } });
    expect(result.hostKey).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256' });
    expect(result.hostKey).not.toEqual(result.auditKey);
    expect(result.assessment).toMatchObject({
      level: 'software',
      virtual: false,
      tier: 'contraindicated',
      vector: { 'instance-identity': 2, hardware: 97, 'storage-opaque': 32 },
      developmentPolicy: 'lab',
    });
  });

  it.each(['L-1', 'H-3'] as const)('enrols with the EK of template %s', async (template) => {
    const other = await AttestedHost.start({ template });
    try {
      const otherKeys = await createHostKeys(other);
      const result = appraiseEnrolment(await enrolmentInput(other, otherKeys));
      expect(result.ak.akId).toBe(nameHex(otherKeys.ak));
    } finally {
      await other.stop();
    }
  });

  it('re-attests', async () => {
    const result = appraiseReattestation(await reattestationInput(host, keys.ak, standing));
    expect(result.passed).toEqual([2, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15, 19, 20, 21, 22]);
    expect(result.boot.resetCount).toBe(standing.boot.resetCount);
    expect(result.boot.clock).toBeGreaterThanOrEqual(standing.boot.clock);
    expect(result.assessment.developmentPolicy).toBe('lab');
  });

  it.each(['required', 'reuse'] as const)('gets a key appraised, quote %s', async (quote) => {
    const agent = await host.createAgentKey();
    const result = appraiseKey(await keyInput(host, keys.ak, agent, standing, { quote }));
    const quoted = quote === 'required' ? [21, 22] : [];
    expect(result.passed).toEqual(
      [1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20].concat(quoted, 27),
    );
    expect(result).toMatchObject({ heldBy: 'tpm', key: { level: 'software', developmentPolicy: 'lab' } });
  });

  it('goes on after a reset: counts go up, a standing without a new quote does not outlive the boot', async () => {
    const other = await AttestedHost.start();
    try {
      const ak = await other.createAk(new Uint8Array(32).fill(5));
      const otherKeys = { ak, hostKey: await other.createAgentKey(), auditKey: await other.createAgentKey() };
      const before = await enrolledStanding(other, otherKeys);
      const agent = await other.createAgentKey();
      await other.reset();
      const reused = await keyInput(other, ak, agent, before, { quote: 'reuse' });
      expect(() => appraiseKey(reused)).toThrow(/^check 19 .*restarted since/);
      const { boot } = appraiseReattestation(await reattestationInput(other, ak, before));
      expect(boot.resetCount).toBe(before.boot.resetCount + 1);
      const again = await keyInput(other, ak, agent, { ...before, boot }, { quote: 'reuse' });
      expect(appraiseKey(again).boot.resetCount).toBe(boot.resetCount);
      await other.restart();
      const restarted = appraiseReattestation(await reattestationInput(other, ak, { ...before, boot }));
      expect(restarted.boot).toMatchObject({
        resetCount: boot.resetCount,
        restartCount: boot.restartCount + 1,
      });
    } finally {
      await other.stop();
    }
  });

  it('does not pretend: checks 23 to 25 are named as not built and never recorded', async () => {
    expect(Object.keys(CHECKS_NOT_BUILT)).toEqual(['23', '24', '25']);
    for (const number of Object.keys(CHECKS_NOT_BUILT)) expect(Object.keys(CHECKS)).not.toContain(number);
    const { assessment } = appraiseEnrolment(await enrolmentInput(host, keys));
    expect(assessment.vector).not.toHaveProperty('executables');
    expect(assessment.vector).not.toHaveProperty('configuration');
  });
});
