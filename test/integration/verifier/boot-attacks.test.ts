/** Check 19 against what a real swtpm can be made to do: restart, be cleared, be set back to an earlier copy. */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appraiseEnrolment } from '../../../src/issuer/verifier/appraise-enrolment.ts';
import { appraiseKey } from '../../../src/issuer/verifier/appraise-key.ts';
import { appraiseReattestation } from '../../../src/issuer/verifier/appraise-reattestation.ts';
import { AttestedHost } from '../../support/attested-host.ts';
import { refusalOf } from '../../support/refusal.ts';
import {
  createHostKeys,
  enrolledStanding,
  enrolmentInput,
  keyInput,
  reattestationInput,
  type HostKeys,
} from './scenario.ts';

describe('check 19: reset and restart counts', () => {
  let host: AttestedHost;
  let keys: HostKeys;

  beforeEach(async () => {
    host = await AttestedHost.start();
    keys = await createHostKeys(host);
  });
  afterEach(async () => {
    await host.stop();
  });

  it('refuses Certify of before a reset beside a quote of after it', async () => {
    const standing = await enrolledStanding(host, keys);
    const agent = await host.createAgentKey();
    const before = await keyInput(host, keys.ak, agent, standing);
    await host.reset();
    const after = await reattestationInput(host, keys.ak, standing);
    const spliced = { ...before, issue: { ...before.issue, quote: after.evidence.quote } };
    // The tag alone stops it (S9); the counts stop it where the tag were the same.
    expect(refusalOf(() => appraiseKey(spliced))).toMatch(/^evidence_invalid: check 14 /);
    const { boot } = appraiseReattestation(after);
    expect(refusalOf(() => appraiseKey({ ...before, standing: { ...standing, boot } }))).toMatch(
      /^evidence_invalid: check 19 .*resetCount went back/,
    );
  });

  it('a copy of the TPM’s state, put back, is a rollback', async () => {
    const copy = join(host.tpm.dir, 'copy');
    await host.reset();
    const standing = await enrolledStanding(host, keys);
    await cp(join(host.tpm.dir, 'state'), copy, { recursive: true });
    await host.reset();
    await host.reset();
    const { boot } = appraiseReattestation(await reattestationInput(host, keys.ak, standing));
    expect(boot.resetCount).toBe(standing.boot.resetCount + 2);

    await host.setBack(copy);
    await rm(copy, { recursive: true });
    const rolledBack = await reattestationInput(host, keys.ak, { ...standing, boot });
    expect(refusalOf(() => appraiseReattestation(rolledBack))).toMatch(
      /^evidence_invalid: check 19 .*resetCount went back/,
    );
  });

  it('a cleared TPM does not go on; it enrols again, and only if policy lets it', async () => {
    await host.reset();
    await host.reset();
    const standing = await enrolledStanding(host, keys);
    await host.clear();
    // AK and EK are the same as before: only the counts tell.
    const requoted = await reattestationInput(host, keys.ak, standing);
    expect(refusalOf(() => appraiseReattestation(requoted))).toMatch(
      /^evidence_invalid: check 19 .*enrols again/,
    );

    const fresh = {
      ak: keys.ak,
      hostKey: await host.createAgentKey(),
      auditKey: await host.createAgentKey(),
    };
    const again = { ...(await enrolmentInput(host, fresh)), stored: standing.boot };
    expect(refusalOf(() => appraiseEnrolment(again))).toMatch(
      /^appraisal_denied: check 19 .*cleared or rolled back/,
    );
    const lenient = { ...again, policy: { ...again.policy, clearedTpm: 'accept' as const } };
    expect(appraiseEnrolment(lenient)).toMatchObject({ history: 'cleared', boot: { resetCount: 0 } });
  });

  it('a second enrolment of the same TPM continues its history', async () => {
    const standing = await enrolledStanding(host, keys);
    await host.reset();
    const again = { ...(await enrolmentInput(host, keys)), stored: standing.boot };
    expect(appraiseEnrolment(again)).toMatchObject({
      history: 'continued',
      boot: { resetCount: standing.boot.resetCount + 1 },
    });
  });

  it('draws no conclusion from the clock after power loss', async () => {
    const standing = await enrolledStanding(host, keys);
    await host.reset({ orderly: false });
    const { boot } = appraiseReattestation(await reattestationInput(host, keys.ak, standing));
    expect(boot.resetCount).toBeGreaterThan(standing.boot.resetCount);
    expect(boot.safe).toBe(false);
    const ahead = { ...standing, boot: { ...boot, clock: boot.clock + 3_600_000n } };
    const next = await reattestationInput(host, keys.ak, ahead);
    expect(refusalOf(() => appraiseReattestation(next))).toBe('accepted');
  });
});
