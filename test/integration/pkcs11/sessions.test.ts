import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeSofthsm, USER_PIN, type TestSofthsm } from '../../support/softhsm.ts';

interface Report {
  readonly nested: { readonly different: boolean; readonly inner: number; readonly outer: number };
  readonly sizeAfterNested: number;
  readonly failure: number;
  readonly sizeAfterFailure: number;
  readonly afterFailure: { readonly anotherSession: boolean; readonly length: number };
  readonly collected: boolean;
  readonly verified: number;
}

describe('sessions and buffers of a real module', () => {
  let hsm: TestSofthsm;
  let report: Report;

  beforeAll(async () => {
    hsm = await makeSofthsm();
    // pkcs11js is loaded in a process of its own: never in the one that runs the tests.
    const probe = fileURLToPath(new URL('../../support/pkcs11-session-probe.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--expose-gc', probe, hsm.module, hsm.tokenLabel, USER_PIN],
      { env: hsm.env, timeout: 60_000 },
    );
    report = JSON.parse(stdout) as Report;
  }, 60_000);
  afterAll(() => hsm.remove());

  it('leases a session to one user at a time', () => {
    expect(report.nested).toEqual({ different: true, inner: 64, outer: 64 });
    expect(report.sizeAfterNested).toBe(2);
  });

  it('never hands on a session on which something failed', () => {
    expect(report.failure).not.toBe(0);
    expect(report.sizeAfterFailure).toBe(1);
    expect(report.afterFailure).toEqual({ anotherSession: true, length: 64 });
  });

  it('keeps every buffer alive until the module is done with it', () => {
    expect(report.collected).toBe(true);
    expect(report.verified).toBe(15);
  });
});
