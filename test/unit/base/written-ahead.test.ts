import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openJournal, type Journal, type JournalOptions } from '../../../src/base/journal.ts';
import { JournalReader, scanJournal } from '../../../src/base/journal-reader.ts';
import { frameRecord } from '../../../src/base/journal-segment.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

/** How long zeros are on their way to the disk. */
let zerosTakeMs = 0;
/** Descriptors that zeros, and that records were written by meanwhile. */
const descriptors = { zeros: new Set<number>(), records: new Set<number>() };
vi.mock('../../../src/base/journal-files.ts', async (original) => {
  const files = await original<typeof import('../../../src/base/journal-files.ts')>();
  const writeDurably: typeof files.writeDurably = async (fd, octets, position) => {
    const isZeros = octets.every((octet) => octet === 0);
    descriptors[isZeros ? 'zeros' : 'records'].add(fd);
    if (zerosTakeMs > 0 && isZeros) await sleep(zerosTakeMs);
    return files.writeDurably(fd, octets, position);
  };
  return { ...files, writeDurably };
});

let temp: Awaited<ReturnType<typeof makeTempDir>>;
const open: Journal[] = [];

beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  zerosTakeMs = 0;
  await Promise.allSettled(open.splice(0).map((journal) => journal.close()));
  await temp.remove();
});

const folder = (name: string): string => join(temp.path, name);
const segments = (name: string): string[] => readdirSync(folder(name)).sort();
const newest = (name: string): string => join(folder(name), segments(name).at(-1) ?? '');
/** Records of 1 to 3,000 octets, none of them zero. */
const records = (count: number): Buffer[] =>
  Array.from({ length: count }, (_, i) => Buffer.alloc(1 + ((i * 977) % 3000), 1 + (i % 255)));
const framed = (all: readonly Uint8Array[]): Buffer => Buffer.concat(all.map(frameRecord));

async function start(
  name: string,
  more: Partial<JournalOptions> = {},
): Promise<{ journal: Journal; read: Buffer[]; torn: number[] }> {
  const read: Buffer[] = [];
  const torn: number[] = [];
  const journal = await openJournal({
    directory: folder(name),
    name: 'test',
    failure: 'audit_unavailable',
    onRecord: (record) => read.push(Buffer.from(record)),
    onTornTail: (octets) => torn.push(octets),
    ...more,
  });
  open.push(journal);
  return { journal, read, torn };
}

async function append(journal: Journal, all: readonly Uint8Array[]): Promise<void> {
  for (const record of all) await journal.append(record).durable;
}

describe('zeros that a journal writes ahead of its records', () => {
  it('are there before most records are, and gone when the journal is closed', async () => {
    const { journal } = await start('a');
    const all = records(600);
    const lengths = new Set<number>();
    let written = 0;
    for (const record of all) {
      await append(journal, [record]);
      written += 8 + record.length;
      const { size } = statSync(newest('a'));
      lengths.add(size);
      expect(size - written).toBeLessThanOrEqual(1.5 * 256 * 1024);
    }
    // 900 kB: lengthened a few times, not 600.
    expect(lengths.size).toBeLessThan(20);
    const during = readFileSync(newest('a'));
    expect(during.length).toBeGreaterThan(written);
    expect(during.subarray(0, written).equals(framed(all))).toBe(true);
    expect(during.subarray(written).every((octet) => octet === 0)).toBe(true);
    await journal.close();
    expect(readFileSync(newest('a')).equals(framed(all))).toBe(true);
  });

  it('never take the place of a record, however many come at once', async () => {
    const { journal } = await start('a');
    const all = records(2000);
    for (let at = 0; at < all.length; at += 50) {
      const appended = all.slice(at, at + 50).map((record) => journal.append(record).durable);
      // Longer than what is written ahead at once.
      if (at === 500) appended.push(journal.append(Buffer.alloc(700_000, 7)).durable);
      await Promise.all(appended);
    }
    await journal.close();
    const { read } = await start('a');
    const expected = [...all.slice(0, 550), Buffer.alloc(700_000, 7), ...all.slice(550)];
    expect(Buffer.concat(read).equals(Buffer.concat(expected))).toBe(true);
  });

  it('never take the place of a record that is written while they are', async () => {
    zerosTakeMs = 5;
    const { journal } = await start('a');
    // The zeros after the first are on their way when the second is written to their place.
    const all = [Buffer.alloc(100, 1), Buffer.alloc(12_000, 2), ...records(50)];
    await append(journal, all);
    await journal.close();
    expect(readFileSync(newest('a')).equals(framed(all))).toBe(true);
  });

  it('are written by a descriptor that no record is: each is told of its own failures', async () => {
    descriptors.zeros.clear();
    descriptors.records.clear();
    const { journal } = await start('a');
    await append(journal, records(300));
    expect(descriptors.zeros.size).toBeGreaterThan(0);
    expect(descriptors.records.size).toBe(1);
    expect([...descriptors.zeros].filter((fd) => descriptors.records.has(fd))).toEqual([]);
  });

  it('are no unfinished record after a crash, and are gone at the next start', async () => {
    const { journal } = await start('a');
    await append(journal, records(40));
    cpSync(folder('a'), folder('b'), { recursive: true });
    expect(statSync(newest('b')).size).toBeGreaterThan(framed(records(40)).length);
    expect(scanJournal(folder('b'), 'test', () => undefined)).toEqual({ tails: [] });
    const { journal: again, read, torn } = await start('b', { maxSegmentOctets: 1 });
    expect([read.length, torn]).toEqual([40, []]);
    expect(readFileSync(newest('b')).equals(framed(records(40)))).toBe(true);
    await append(again, [Buffer.from('next')]);
    expect(again.length).toBe(41);
  });

  it('do not hide an unfinished record that they are behind', async () => {
    const { journal } = await start('a');
    await append(journal, records(5));
    await journal.close();
    const whole = framed(records(5));
    const last = frameRecord(records(5)[4] ?? Buffer.of()).length;
    for (const left of [8, 9, 100, last - 1]) {
      const torn = whole.subarray(0, whole.length - last + left);
      writeFileSync(newest('a'), Buffer.concat([torn, Buffer.alloc(100_000)]));
      const { tails } = scanJournal(folder('a'), 'test', () => undefined);
      expect(tails.map(({ octets }) => octets)).toEqual([left]);
      const { journal: again, read, torn: told } = await start('a');
      expect([read.length, told]).toEqual([4, [left]]);
      await again.close();
      expect(readFileSync(newest('a')).equals(whole.subarray(0, whole.length - last))).toBe(true);
    }
  });

  it('may be left at the end of a segment that others follow; anything else there is damage', async () => {
    const { journal } = await start('a', { maxSegmentOctets: 4000 });
    await append(journal, records(30));
    await journal.close();
    const [first = ''] = segments('a');
    const file = join(folder('a'), first);
    const whole = readFileSync(file);
    truncateSync(file, whole.length + 5000);
    const { journal: again, read } = await start('a');
    expect(Buffer.concat(read).equals(Buffer.concat(records(30)))).toBe(true);
    await again.close();
    writeFileSync(file, Buffer.concat([whole, Buffer.alloc(5000), Buffer.of(1)]));
    expect(await codeOfAsync(() => start('a'))).toBe('audit_unavailable');
  });

  it('are not behind the size at which a segment ends', async () => {
    const { journal } = await start('a', { maxSegmentOctets: 20_000 });
    for (const record of records(60)) {
      await append(journal, [record]);
      const sizes = segments('a').map((name) => statSync(join(folder('a'), name)).size);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(20_000 + 8 + 3000);
    }
    expect(segments('a').length).toBeGreaterThan(3);
  });

  it('end what is read while the journal is written', async () => {
    const { journal } = await start('a', { maxSegmentOctets: 60_000 });
    const reader = new JournalReader(folder('a'), 'test');
    for (let at = 0; at < 100; at += 10) {
      await append(journal, records(100).slice(at, at + 10));
      expect(reader.read(0, Infinity).length).toBe(at + 10);
      expect(reader.read(at + 10, Infinity)).toEqual([]);
    }
  });
});
