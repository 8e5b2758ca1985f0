import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openJournal, type Journal, type JournalOptions } from '../../../src/base/journal.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

let temp: Awaited<ReturnType<typeof makeTempDir>>;
const open: Journal[] = [];

beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const journal of open.splice(0)) await journal.close().catch(() => undefined);
  await temp.remove();
});

async function reopen(
  more: Partial<JournalOptions> = {},
): Promise<{ journal: Journal; records: string[]; torn: number[] }> {
  const records: string[] = [];
  const torn: number[] = [];
  const journal = await openJournal({
    directory: temp.path,
    name: 'test',
    failure: 'ledger_unavailable',
    onRecord: (record) => records.push(Buffer.from(record).toString()),
    onTornTail: (octets) => torn.push(octets),
    ...more,
  });
  open.push(journal);
  return { journal, records, torn };
}

const files = (): string[] => readdirSync(temp.path).sort();
const newest = (): string => join(temp.path, files().at(-1) ?? '');

async function write(count: number, more: Partial<JournalOptions> = {}): Promise<void> {
  const { journal } = await reopen(more);
  for (let i = 0; i < count; i += 1) await journal.append(Buffer.from(`record ${i}`)).durable;
  await journal.close();
}

describe('a journal', () => {
  it('gives back what was appended, in order, over segments', async () => {
    await write(50, { maxSegmentOctets: 100 });
    expect(files().length).toBeGreaterThan(5);
    const { records, journal, torn } = await reopen({ maxSegmentOctets: 100 });
    expect(records).toEqual(Array.from({ length: 50 }, (_, i) => `record ${i}`));
    expect(journal.length).toBe(50);
    expect(torn).toEqual([]);
    expect(journal.append(Buffer.from('x')).index).toBe(50);
  });

  it('writes what the promises of one moment append at once', async () => {
    const writes: number[] = [];
    const { journal } = await reopen({
      fault: (step, size) => {
        if (step === 'synced') writes.push(size);
      },
    });
    const steps = async (first: number): Promise<void> => {
      const appended: Promise<void>[] = [];
      for (let i = 0; i < 3; i += 1) {
        appended.push(journal.append(Buffer.from(`record ${first + i}`)).durable);
        await Promise.resolve();
      }
      await Promise.all(appended);
    };
    await Promise.all([steps(0), steps(3), steps(6)]);
    expect([writes.length, journal.length]).toEqual([1, 9]);
  });

  it('reads from an index on, without the segments before it', async () => {
    await write(50, { maxSegmentOctets: 100 });
    const [first] = files();
    writeFileSync(join(temp.path, first ?? ''), 'not read');
    const { records, journal } = await reopen({ from: 40 });
    expect(records).toEqual(Array.from({ length: 10 }, (_, i) => `record ${40 + i}`));
    expect(journal.length).toBe(50);
  });

  it('keeps every record of many writers, each durable when it says so', async () => {
    const { journal } = await reopen();
    const appended = Array.from({ length: 500 }, (_, i) => journal.append(Buffer.from(`r${i}`)));
    await Promise.all(appended.map(({ durable }) => durable));
    expect(readFileSync(newest()).toString('latin1').match(/r\d+/g)?.length).toBe(500);
    await journal.close();
    expect((await reopen()).records.length).toBe(500);
  });

  it('S16: lets what nobody waits for go with the next write, or by itself', async () => {
    let writes = 0;
    const fault = (step: string): void => {
      if (step === 'write') writes += 1;
    };
    const { journal } = await reopen({ fault });
    const later = journal.appendLater(Buffer.from('later'));
    expect(writes).toBe(0);
    await journal.append(Buffer.from('first')).durable;
    await later.durable;
    expect(writes).toBe(1);
    // While a write is under way, too: the one for it begins with what somebody waits for.
    const under = journal.append(Buffer.from('second'));
    journal.appendLater(Buffer.from('later'));
    await under.durable;
    expect(writes).toBe(2);
    await journal.append(Buffer.from('third')).durable;
    expect(writes).toBe(3);
    await journal.appendLater(Buffer.from('alone')).durable;
    expect(writes).toBe(4);
    journal.appendLater(Buffer.from('flushed'));
    await journal.flush();
    expect(writes).toBe(5);
    const last = journal.appendLater(Buffer.from('closed'));
    await journal.close();
    await last.durable;
    const { records } = await reopen();
    expect(records.join()).toBe('later,first,second,later,third,alone,flushed,closed');
  });

  it('cuts what a crash tore off, at every octet of the last record', async () => {
    await write(3);
    const whole = statSync(newest()).size;
    const last = 8 + 'record 2'.length;
    for (let cut = 1; cut <= last; cut += 1) {
      truncateSync(newest(), whole - cut);
      const { records, torn, journal } = await reopen();
      expect(records).toEqual(['record 0', 'record 1']);
      // Three zeros, the beginning of a length, could have been written ahead.
      expect(torn).toEqual(last - cut <= 3 ? [] : [last - cut]);
      await journal.append(Buffer.from('record 2')).durable;
      await journal.close();
      expect(statSync(newest()).size).toBe(whole);
    }
  });

  it('refuses damage that no crash leaves: any octet of a record that others follow', async () => {
    await write(3);
    const good = readFileSync(newest());
    // The length field may point anywhere, so that what follows can not be told from a torn tail.
    for (let at = 4; at < 8 + 'record 0'.length; at += 1) {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(at) ^ 1, at);
      writeFileSync(newest(), bad);
      expect(await codeOfAsync(() => reopen())).toBe('ledger_unavailable');
      expect(readFileSync(newest()).equals(bad)).toBe(true);
    }
  });

  it('refuses a torn record in any segment but the newest, and a missing segment', async () => {
    await write(50, { maxSegmentOctets: 100 });
    const [first = ''] = files();
    appendFileSync(join(temp.path, first), 'x');
    expect(await codeOfAsync(() => reopen())).toBe('ledger_unavailable');
    truncateSync(join(temp.path, first), 0);
    expect(await codeOfAsync(() => reopen())).toBe('ledger_unavailable');
  });

  it('promises nothing any more after it was closed, and refuses what is too long', async () => {
    const { journal } = await reopen();
    expect(await codeOfAsync(() => journal.append(Buffer.alloc(2 ** 20 + 1)).durable)).toBe('internal');
    expect(await codeOfAsync(() => journal.append(Buffer.alloc(0)).durable)).toBe('internal');
    await journal.close();
    expect(await codeOfAsync(() => journal.append(Buffer.from('x')).durable)).toBe('shutting_down');
  });

  it('fails every later record once a write failed', async () => {
    // Writes past RLIMIT_FSIZE fail with EFBIG; see test/unit/base/programs/journal-file-size.ts.
    const { execFile } = await import('node:child_process');
    const { promisify } = await import('node:util');
    const program = join(import.meta.dirname, 'programs', 'journal-file-size.ts');
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      `ulimit -f 8; exec "${process.execPath}" "${program}" "${temp.path}"`,
    ]);
    expect(JSON.parse(stdout)).toEqual({
      first: 'audit_unavailable',
      later: 'audit_unavailable',
      flush: 'audit_unavailable',
    });
  });
});
