/** The audit log: durable, provable, the same after a restart, and closed to what was changed behind its back. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog, AuditLogOptions } from '../../../src/audit/audit-log.ts';
import { openAuditLog } from '../../../src/audit/open-audit-log.ts';
import { frameRecord } from '../../../src/base/journal-segment.ts';
import { parseAuditEntry, type AuditEntry, type AuditRecord } from '../../../src/wire/audit-entry.ts';
import { verifyCheckpoint } from '../../../src/wire/checkpoint.ts';
import { parsePublicJwk } from '../../../src/wire/jwk.ts';
import { leafHash, verifyConsistency, verifyInclusion } from '../../../src/wire/merkle.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';
import { writtenRecords } from '../../support/written-records.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
const publicJwk = parsePublicJwk({ kty, crv, x, y, alg: 'ES256' });
const signer = {
  publicJwk,
  sign: (octets: Uint8Array): Promise<Uint8Array> =>
    Promise.resolve(sign('sha256', octets, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
};

let temp: Awaited<ReturnType<typeof makeTempDir>>;
let open: AuditLog[] = [];
let clock = 1_000_000;

beforeEach(async () => {
  temp = await makeTempDir();
  open = [];
});
afterEach(async () => {
  for (const log of open) await log.close();
  await temp.remove();
});

const directory = (): string => join(temp.path, 'audit');

async function start(more: Partial<AuditLogOptions> = {}): Promise<AuditLog> {
  const log = await openAuditLog({
    directory: directory(),
    signer: () => Promise.resolve(signer),
    now: () => (clock += 1),
    ...more,
  });
  open.push(log);
  return log;
}

/** A second daemon's view, as a crash of the first would leave it: nothing is closed. */
async function entriesAfterCrash(more: Partial<AuditLogOptions> = {}): Promise<readonly AuditEntry[]> {
  const log = await start(more);
  return all(log);
}

const all = (log: AuditLog): readonly AuditEntry[] => log.entries(0, log.size).map(parseAuditEntry);
const permit = (action = 'jwt'): AuditRecord => ({
  at: clock,
  kind: 'decision',
  action,
  effect: 'permit',
  policies: ['owner'],
  policyVersion: 1,
  caller: { ingress: 'shared', uid: 1, gid: 1, pid: 1 },
  parameters: {},
});
const done = (decision: number): AuditRecord => ({ at: clock, kind: 'outcome', decision, effect: 'done' });

async function filled(count: number, more: Partial<AuditLogOptions> = {}): Promise<AuditLog> {
  const log = await start(more);
  for (let i = 0; i < count; i += 1) {
    const { index } = log.append(permit(`jwt-${i}`));
    log.append(done(index));
    // A segment takes whole batches: without a pause there is one.
    if (i % 20 === 0) await log.head();
  }
  await log.head();
  return log;
}

describe('the log', () => {
  it('begins with the start, and every entry names its place and the entry before it', async () => {
    const log = await filled(20);
    const entries = log.entries(0, log.size);
    entries.forEach((octets, index) => {
      const entry = parseAuditEntry(octets);
      const before = entries[index - 1];
      const previous =
        before === undefined ? 'A'.repeat(43) : Buffer.from(leafHash(before)).toString('base64url');
      expect([entry.index, entry.previous]).toEqual([index, previous]);
    });
    expect(parseAuditEntry(entries[0] ?? new Uint8Array())).toMatchObject({ event: 'start' });
  });

  it('has the same root and size after a restart, over segments', async () => {
    const log = await filled(300, { maxSegmentOctets: 4096 });
    const { size, root } = await log.head();
    expect(readdirSync(directory()).filter((name) => name.endsWith('.log')).length).toBeGreaterThan(5);
    const again = await start({ maxSegmentOctets: 4096 });
    expect(again.origin).toBe(log.origin);
    expect(again.size).toBe(size + 1);
    const proof = again.consistency(size, again.size);
    expect(verifyConsistency(size, again.size, proof, root, again.root())).toBe(true);
  });

  it('proves every entry and every prefix, across the blocks it keeps only the roots of', async () => {
    const log = await filled(1300);
    const head = await log.head();
    expect(head.size).toBeGreaterThan(2 * 1024);
    for (const index of [0, 1, 1023, 1024, 1025, 2047, 2048, head.size - 1]) {
      const [octets = new Uint8Array()] = log.entries(index, index + 1);
      const proof = log.inclusion(index, head.size);
      expect(verifyInclusion(leafHash(octets), index, head.size, proof, head.root), `${index}`).toBe(true);
    }
    for (const size of [1, 2, 1023, 1024, 1025, 2048, 2500]) {
      const older = await rootAt(log, size);
      const proof = log.consistency(size, head.size);
      expect(verifyConsistency(size, head.size, proof, older, head.root), `${size}`).toBe(true);
    }
    expect(codeOf(() => log.inclusion(head.size, head.size))).toBe('not_found');
    expect(codeOf(() => log.inclusion(0, head.size + 1))).toBe('not_found');
    expect(codeOf(() => log.consistency(2, 1))).toBe('not_found');
    expect(codeOf(() => log.consistency(0, head.size + 1))).toBe('not_found');
  });

  it('reads entries as far as there are any', async () => {
    const log = await filled(5);
    expect(log.entries(9, 1000).length).toBe(2);
    expect(log.entries(11, 20)).toEqual([]);
  });

  it('S16: what a crash left open becomes outcome-unknown, once', async () => {
    const log = await start();
    const first = log.append(permit());
    log.append(done(first.index));
    const second = log.append(permit());
    const third = log.append(permit());
    await third.durable;
    const entries = await entriesAfterCrash();
    const unknown = entries.filter((entry) => entry.kind === 'outcome' && entry.effect === 'outcome-unknown');
    expect(unknown.map((entry) => (entry.kind === 'outcome' ? entry.decision : -1))).toEqual([
      second.index,
      third.index,
    ]);
    const once = await entriesAfterCrash();
    expect(once.filter((entry) => entry.kind === 'outcome').length).toBe(3);
  });

  it('a torn last entry is cut and counted; the start says so', async () => {
    const log = await filled(10);
    const size = log.size;
    const file = join(directory(), readdirSync(directory()).find((name) => name.endsWith('.log')) ?? '');
    const whole = writtenRecords(file);
    truncateSync(file, whole.length - 5);
    const torn: number[] = [];
    const again = await start({ onTornTail: (octets) => torn.push(octets) });
    expect(torn.length).toBe(1);
    expect(all(again)[size - 1]).toMatchObject({ event: 'start', detail: { torn: torn[0] } });
  });

  it('every torn length of the last entry leaves the entries before it', async () => {
    const log = await filled(3);
    const size = log.size;
    const file = join(directory(), readdirSync(directory()).find((name) => name.endsWith('.log')) ?? '');
    const whole = writtenRecords(file);
    const last = frameRecord(log.entries(size - 1, size)[0] ?? new Uint8Array()).length;
    for (let cut = 1; cut <= last; cut += 7) {
      writeFileSync(file, whole.subarray(0, whole.length - cut));
      const entries = await entriesAfterCrash();
      expect(entries[size - 1], `${cut}`).toMatchObject({ event: 'start', detail: { unsigned: size - 1 } });
      expect(entries.slice(0, size - 1).map(({ index }) => index)).toEqual([...Array(size - 1).keys()]);
    }
  });

  it('an entry that could not be read again is refused, and the log goes on', async () => {
    const log = await start();
    const long = { ...permit(), parameters: { names: 'x'.repeat(70_000) } };
    expect(await codeOfAsync(() => log.append(long).durable)).toBe('audit_unavailable');
    const { index, durable } = log.append(permit());
    await durable;
    const { size, root } = await log.head();
    const [octets = new Uint8Array()] = log.entries(index, index + 1);
    expect(verifyInclusion(leafHash(octets), index, size, log.inclusion(index, size), root)).toBe(true);
    expect((await entriesAfterCrash()).length).toBeGreaterThan(index);
  });
});

describe('checkpoints', () => {
  it('cover what is durable, are entries themselves, and are not repeated without news', async () => {
    const log = await filled(10);
    const made = await log.checkpoint();
    const { size } = verifyCheckpoint(made?.note ?? '', publicJwk);
    expect(size).toBe(21);
    expect(all(log)[size]).toMatchObject({ kind: 'checkpoint', note: made?.note });
    expect(await log.checkpoint()).toBe(made);
    log.append(permit());
    const next = await log.checkpoint();
    const head = verifyCheckpoint(next?.note ?? '', publicJwk);
    const proof = log.consistency(size, head.size);
    expect(verifyConsistency(size, head.size, proof, made?.head.root ?? head.root, head.root)).toBe(true);
  });

  it('many who ask at once get one; without a key there is none', async () => {
    const log = await filled(10);
    const told: unknown[] = [];
    log.onCheckpoint((checkpoint) => told.push(checkpoint));
    const made = await Promise.all(Array.from({ length: 20 }, () => log.checkpoint()));
    expect(new Set(made).size).toBe(1);
    expect(told).toEqual([made[0]]);
    await log.close();
    const keyless = await start({ signer: () => Promise.resolve(undefined) });
    keyless.append(permit());
    expect(await keyless.checkpoint()).toBeUndefined();
  });

  it('the last one is known after a restart, and a clean end is covered by one', async () => {
    const log = await filled(10);
    const made = await log.checkpoint();
    const again = await start();
    expect(again.latest).toEqual(made);
    await again.close();
    const entries = await entriesAfterCrash();
    const [stop, checkpoint, started] = entries.slice(-3);
    expect(stop).toMatchObject({ event: 'stop' });
    expect(checkpoint).toMatchObject({ kind: 'checkpoint' });
    expect(verifyCheckpoint(checkpoint?.kind === 'checkpoint' ? checkpoint.note : '', publicJwk).size).toBe(
      entries.length - 2,
    );
    // The entry of the checkpoint itself.
    expect(started).toMatchObject({ event: 'start', detail: { unsigned: 1 } });
  });

  it('an end that could not be signed is told', async () => {
    const told: string[] = [];
    const log = await start({
      signer: () => Promise.reject(new TypeError('no hardware')),
      onUnsigned: ({ message }) => told.push(message),
    });
    await log.close();
    expect(told).toEqual(['no hardware']);
    expect(
      (await entriesAfterCrash()).map((entry) => (entry.kind === 'event' ? entry.event : entry.kind)),
    ).toEqual(['start', 'stop', 'start']);
  });
});

describe('S16: a log that is not what was last signed', () => {
  async function signed(): Promise<{ readonly file: string; readonly records: readonly Uint8Array[] }> {
    const log = await filled(10);
    await log.checkpoint();
    await log.close();
    const file = join(directory(), readdirSync(directory()).find((name) => name.endsWith('.log')) ?? '');
    return { file, records: log.entries(0, log.size) };
  }
  const put = (file: string, records: readonly Uint8Array[]): void => {
    writeFileSync(file, Buffer.concat(records.map(frameRecord)));
  };

  it('is not gone on with: changed, shortened, reordered', async () => {
    const { file, records } = await signed();
    const [first = new Uint8Array(), second = new Uint8Array()] = records;
    const changed = Buffer.from(Buffer.from(second).toString().replace('jwt-0', 'jwt-9'));
    for (const other of [
      records.with(1, changed),
      records.toSpliced(3, 1),
      records.slice(0, -3),
      records.with(0, second).with(1, first),
      [],
    ]) {
      put(file, other);
      expect(await codeOfAsync(() => start())).toBe('audit_unavailable');
    }
    put(file, records);
    await start();
  });

  it('is not gone on with under another name', async () => {
    const { file, records } = await signed();
    put(file, records);
    writeFileSync(join(directory(), 'origin'), 'agentkeyd/other\n');
    expect(await codeOfAsync(() => start())).toBe('audit_unavailable');
  });

  it('a checkpoint file that can not be read is an error, cut at every offset', async () => {
    await signed();
    const file = join(directory(), 'checkpoint');
    const text = readFileSync(file, 'utf8');
    for (let end = 0; end < text.length; end += 1) {
      writeFileSync(file, text.slice(0, end));
      expect(await codeOfAsync(() => start()), `${end}`).toBe('audit_unavailable');
    }
    writeFileSync(file, `${text}x`);
    expect(await codeOfAsync(() => start())).toBe('audit_unavailable');
  });

  it('entries that were added to it are counted as unsigned', async () => {
    const { file, records } = await signed();
    const entry = { ...parseAuditEntry(records[1] ?? new Uint8Array()), index: records.length };
    appendFileSync(file, frameRecord(Buffer.from(JSON.stringify(entry))));
    const log = await start();
    expect(
      all(log)
        .filter(({ kind }) => kind === 'event')
        .at(-1),
    ).toMatchObject({ detail: { unsigned: 2 } });
  });
});

async function rootAt(log: AuditLog, size: number): Promise<Uint8Array> {
  const { MerkleFrontier } = await import('../../../src/wire/merkle.ts');
  const frontier = new MerkleFrontier();
  for (const octets of log.entries(0, size)) frontier.append(leafHash(octets));
  return frontier.root();
}
