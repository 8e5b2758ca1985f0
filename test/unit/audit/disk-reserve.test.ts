/** S16: a disk that is really full, and a log that goes on writing what it must. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { openAuditLog } from '../../../src/audit/open-audit-log.ts';
import { parseAuditEntry } from '../../../src/wire/audit-entry.ts';
import { makeAuditKey, permit } from '../../support/audit-keys.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
const RESERVE = 256 * 1024;

/** Mounting needs CAP_SYS_ADMIN. */
const canMount = ((): boolean => {
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!canMount)('S16: on a full disk', () => {
  let temp: Awaited<ReturnType<typeof makeTempDir>>;
  let log: AuditLog;
  let told: number;
  const disk = (): string => join(temp.path, 'disk');
  const filler = (): string => join(disk(), 'filler');

  beforeEach(async () => {
    temp = await makeTempDir();
    mkdirSync(disk());
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk()]);
    told = 0;
    log = await openAuditLog({
      directory: join(disk(), 'audit'),
      signer: () => Promise.resolve(key),
      reserveOctets: RESERVE,
      maxSegmentOctets: 32_768,
      onFull: () => (told += 1),
    });
  });
  afterEach(async () => {
    // One that could not go on says so once more.
    await Promise.allSettled([log.close()]);
    execFileSync('umount', [disk()]);
    await temp.remove();
  });

  /** Others take all there is. */
  function fill(): void {
    const kib = Buffer.alloc(1024, 1);
    try {
      for (;;) writeFileSync(filler(), kib, { flag: 'a' });
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'ENOSPC' });
    }
  }

  it('entries are written to the reserve, segments begun in it, and it is told once', async () => {
    fill();
    const indices: number[] = [];
    // Half the reserve, each in a write of its own.
    for (let octets = 0; octets < RESERVE / 2; octets += 600) {
      const { index, durable } = log.append(permit(1));
      await durable;
      indices.push(index);
    }
    expect(told).toBe(1);
    expect(log.isShort).toBe(true);
    const read = log.entries(0, log.size).map(parseAuditEntry);
    expect(read.map(({ index }) => index)).toEqual([0, ...indices]);
  });

  it('the log ends when the reserve is used up: nothing is promised that is not kept', async () => {
    fill();
    let written = 0;
    const code = await codeOfAsync(async () => {
      for (; written < 1000; written += 1) await log.append(permit(1)).durable;
    });
    expect(code).toBe('audit_unavailable');
    expect(written * 600).toBeGreaterThan(RESERVE / 2);
    expect(log.entries(0, 2000).length).toBe(1 + written);
  });

  it('takes the reserve back once there is room, at the next checkpoint', async () => {
    fill();
    // The log's file has some room left, that was written ahead.
    for (let i = 0; i < 100 && !log.isShort; i += 1) await log.append(permit(1)).durable;
    expect(log.isShort).toBe(true);
    await log.checkpoint();
    expect(log.isShort).toBe(true);
    rmSync(filler());
    log.append(permit(1));
    await log.checkpoint();
    expect(log.isShort).toBe(false);
  });
});
