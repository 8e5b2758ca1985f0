/** A start that resumes from the last checkpoint ends where one that reads the whole log ends, or is not trusted. */
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { openAuditLog } from '../../../src/audit/open-audit-log.ts';
import { UsageTally } from '../../../src/daemon/usage-tally.ts';
import { MemoryUsageHistory } from '../../../src/ledger/usage-history.ts';
import { parseAuditEntry } from '../../../src/wire/audit-entry.ts';
import { done, makeAuditKey, permit } from '../../support/audit-keys.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
const NOW = 1_760_000_600_000;
const AGENT = 'spiffe://example.org/agent/buyer';
/** Decisions of a filled log; with the rest it has more than two blocks of 1,024 entries. */
const COUNT = 1100;

let base: Awaited<ReturnType<typeof makeTempDir>>;
let temp: Awaited<ReturnType<typeof makeTempDir>>;
let open: AuditLog[];
beforeAll(async () => {
  base = await makeTempDir();
  const usage = new MemoryUsageHistory(() => NOW);
  const log = await openAuditLog({
    directory: join(base.path, 'audit'),
    signer: () => Promise.resolve(key),
    maxSegmentOctets: 65_536,
    tally: new UsageTally(usage),
  });
  for (let i = 1; i <= COUNT; i += 1) {
    log.append(done(NOW, log.append(permit(NOW, `jwt-${i}`)).index));
    usage.signedAt(AGENT, 'https://rs.example', NOW);
    if (i % 110 === 0) await log.checkpoint();
  }
  await log.close();
});
afterAll(() => base.remove());
beforeEach(async () => {
  temp = await makeTempDir();
  open = [];
  cpSync(join(base.path, 'audit'), directory(), { recursive: true });
});
afterEach(async () => {
  for (const log of open) await log.close();
  await temp.remove();
});

const directory = (): string => join(temp.path, 'audit');
const resumeFile = (): string => join(directory(), 'resume');
const segments = (): readonly string[] => readdirSync(directory()).filter((name) => name.endsWith('.log'));
const entriesOf = (log: AuditLog): readonly Uint8Array[] => log.entries(0, log.size);

async function reopened(at = directory()): Promise<{ log: AuditLog; usage: MemoryUsageHistory }> {
  const usage = new MemoryUsageHistory(() => NOW);
  const log = await openAuditLog({
    directory: at,
    signer: () => Promise.resolve(key),
    now: () => NOW,
    maxSegmentOctets: 65_536,
    tally: new UsageTally(usage),
  });
  open.push(log);
  return { log, usage };
}

/** The same start without anything to resume from. */
async function wholly(): Promise<{ log: AuditLog; usage: MemoryUsageHistory }> {
  const copy = join(temp.path, 'copy');
  cpSync(directory(), copy, { recursive: true });
  rmSync(join(copy, 'resume'), { force: true });
  return reopened(copy);
}

/** The resume file with members replaced, and the checksum made to fit. */
function forge(members: Readonly<Record<string, unknown>>): void {
  const [, document = ''] = readFileSync(resumeFile(), 'utf8').split('\n');
  const forged = JSON.stringify({ ...(JSON.parse(document) as object), ...members });
  writeFileSync(resumeFile(), `${createHash('sha256').update(forged).digest('hex')}\n${forged}`);
}

describe('a start that resumes', () => {
  it('has the size, entries and counts of one that reads everything, and goes on with the same log', async () => {
    const whole = await wholly();
    const { log, usage } = await reopened();
    expect(log.size).toBe(whole.log.size);
    expect(usage.save()).toEqual(whole.usage.save());
    expect(usage.of(AGENT, 'https://rs.example')).toMatchObject({ firstUseOfOrigin: false, lastDay: COUNT });
    log.append(permit(NOW));
    const { size } = await log.head();
    await log.close();
    rmSync(resumeFile());
    // Whoever reads everything finds the checkpoint that was made over it.
    const again = await reopened();
    expect(again.log.latest?.head.size).toBe(size + 1);
  });

  it('does not read what is before its last block', async () => {
    const [first = ''] = segments();
    const file = join(directory(), first);
    const octets = readFileSync(file);
    octets[100] = (octets[100] ?? 0) ^ 1;
    writeFileSync(file, octets);
    const { log } = await reopened();
    // It is no longer what the tree is over, and no proof is made of it.
    expect(codeOf(() => log.inclusion(3, log.size))).toBe('audit_unavailable');
    log.inclusion(log.size - 2, log.size);
  });

  it('S16: closes decisions that were open at the checkpoint, and those since', async () => {
    const { log: before, usage: live } = await reopened();
    const early = before.append(permit(NOW, 'early'));
    const ended = before.append(permit(NOW, 'ended'));
    await before.checkpoint();
    before.append(done(NOW, ended.index));
    live.signedAt(AGENT, undefined, NOW);
    const late = before.append(permit(NOW, 'late'));
    await late.durable;
    const { log, usage } = await reopened();
    const closed = log
      .entries(late.index + 1, log.size)
      .map(parseAuditEntry)
      .flatMap((entry) => (entry.kind === 'outcome' ? [entry.decision] : []));
    expect(closed).toEqual([early.index, late.index]);
    // Nobody knows that they were not signed.
    expect(usage.save()).toEqual((await wholly()).usage.save());
    expect(usage.of(AGENT, undefined).lastDay).toBe(COUNT + 3);
  });

  it('is closed to a log with a segment missing or shortened', async () => {
    const [first = '', second = ''] = segments();
    const whole = readFileSync(join(directory(), second));
    truncateSync(join(directory(), second), whole.length - 40);
    expect(await codeOfAsync(() => reopened())).toBe('audit_unavailable');
    rmSync(join(directory(), second));
    expect(await codeOfAsync(() => reopened())).toBe('audit_unavailable');
    writeFileSync(join(directory(), second), whole);
    rmSync(join(directory(), first));
    expect(await codeOfAsync(() => reopened())).toBe('audit_unavailable');
  });
});

describe('what can not be resumed from is made anew from the log', () => {
  it.each<readonly [string, () => void]>([
    [
      'none',
      () => {
        rmSync(resumeFile());
      },
    ],
    [
      'an empty one',
      () => {
        writeFileSync(resumeFile(), '');
      },
    ],
    [
      'a cut one',
      () => {
        truncateSync(resumeFile(), 500);
      },
    ],
    [
      'one with an octet changed',
      () => {
        writeFileSync(resumeFile(), readFileSync(resumeFile(), 'utf8').replace('"open":', '"opem":'));
      },
    ],
    [
      'one of another log',
      () => {
        forge({ origin: 'agentkeyd/other' });
      },
    ],
    [
      'one with other roots',
      () => {
        forge({ blocks: Buffer.alloc(2 * 32, 7).toString('base64url') });
      },
    ],
    [
      'one with too few roots',
      () => {
        forge({ blocks: '' });
      },
    ],
    [
      'one newer than the checkpoint',
      () => {
        forge({ size: 1_000_000 });
      },
    ],
    [
      'one with counts that are none',
      () => {
        forge({ tally: [{ id: 1 }] });
      },
    ],
    [
      'one with an unknown member',
      () => {
        forge({ more: 1 });
      },
    ],
    [
      'one of a later format',
      () => {
        forge({ format: 'agentkeyd-audit-resume/2' });
      },
    ],
  ])('%s', async (_, spoil) => {
    const whole = await wholly();
    spoil();
    const { log, usage } = await reopened();
    const size = whole.log.size - 1;
    expect(entriesOf(log).slice(0, size)).toEqual(entriesOf(whole.log).slice(0, size));
    log.inclusion(0, size);
    expect(usage.of(AGENT, 'https://rs.example').lastDay).toBe(COUNT);
    expect(usage.of(AGENT, 'https://other.example').firstUseOfOrigin).toBe(true);
  });

  it('an older one is gone on from', async () => {
    const { log: before } = await reopened();
    const older = readFileSync(resumeFile());
    for (let i = 0; i < 1100; i += 1) before.append(done(NOW, before.append(permit(NOW)).index));
    await before.checkpoint();
    writeFileSync(resumeFile(), older);
    const { log, usage } = await reopened();
    log.inclusion(0, log.size - 1);
    expect(usage.of(AGENT, undefined).lastDay).toBe(COUNT + 1100);
    expect(usage.save()).toEqual((await wholly()).usage.save());
  });
});

it('a checkpoint is made before its time once so many entries wait for one', async () => {
  const { log } = await reopened();
  const before = log.latest?.head.size ?? 0;
  const made = new Promise<number>((resolve) => {
    log.onCheckpoint(({ head }) => {
      resolve(head.size);
    });
  });
  for (let i = 0; i < 33_000; i += 1)
    log.append({ at: NOW, kind: 'denials', share: 'uid:1', count: 1, since: NOW });
  expect(await made).toBeGreaterThan(before + 32_000);
});
