/** S16: an exported log verifies with nothing but the audit key, and whatever was done to it is found by name. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAuditExport, type AuditReport, type AuditExportOptions } from '../../../src/verify/index.ts';
import { parseAuditEntry, type AuditEntry } from '../../../src/wire/audit-entry.ts';
import { leafHash, MerkleFrontier } from '../../../src/wire/merkle.ts';
import { fillAuditLog, makeAuditKey, permit, type AuditKey } from '../../support/audit-keys.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
let temp: Awaited<ReturnType<typeof makeTempDir>>;
/** Header and entries of a log with checkpoints after every ten decisions. */
let lines: readonly string[];
/** A checkpoint of this log that was seen later, and one of another history of it. */
let later: string;
let forked: string;

async function exported(log: { export(): AsyncIterable<Uint8Array> }): Promise<readonly string[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of log.export()) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8').trimEnd().split('\n');
}

beforeAll(async () => {
  temp = await makeTempDir();
  const directory = join(temp.path, 'audit');
  const log = await fillAuditLog(directory, key, { count: 50, every: 10, maxSegmentOctets: 8192 });
  lines = await exported(log);
  const copy = join(temp.path, 'copy');
  cpSync(directory, copy, { recursive: true });
  const fork = await fillAuditLog(copy, key, { count: 9, every: 3 });
  forked = (await fork.checkpoint())?.note ?? '';
  await fork.close();
  for (let i = 0; i < 5; i += 1) log.append(permit(log.now(), 'later'));
  later = (await log.checkpoint())?.note ?? '';
  await log.close();
});
afterAll(() => temp.remove());

function verify(
  given: readonly string[],
  options: Partial<AuditExportOptions> = {},
  end = '\n',
): Promise<AuditReport> {
  return verifyAuditExport([Buffer.from(given.join('\n') + end)], { keys: [key.publicJwk], ...options });
}

const found = ({ findings }: AuditReport) => findings.map(({ code, from, to }) => [code, from, to]);
/** Line of the entry with this index. */
const at = (index: number): number => index + 1;
const entry = (index: number): AuditEntry => parseAuditEntry(Buffer.from(lines[at(index)] ?? ''));
const without = (index: number): readonly string[] => lines.toSpliced(at(index), 1);

/** Entries numbered and linked anew, as somebody would who knows how. */
function relinked(from: readonly string[]): readonly string[] {
  const [header = '', ...entries] = from;
  let previous: Uint8Array = new Uint8Array(32);
  return [
    header,
    ...entries.map((line, index) => {
      const text = line
        .replace(/^\{"index":\d+/, `{"index":${index}`)
        .replace(/"previous":"[^"]+"/, `"previous":"${Buffer.from(previous).toString('base64url')}"`);
      previous = leafHash(Buffer.from(text));
      return text;
    }),
  ];
}

describe('S16: an export', () => {
  it('is sound as it was made, however its octets are cut', async () => {
    const whole = Buffer.from(`${lines.join('\n')}\n`);
    for (const size of [1, 7, 1000, whole.length]) {
      const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
        whole.subarray(i * size, (i + 1) * size),
      );
      const report = await verifyAuditExport(chunks, { keys: [key.publicJwk], checkpoints: [] });
      expect(report).toMatchObject({ isSound: true, findings: [], entries: lines.length - 1 });
      expect(report.signed?.size).toBe(lines.length - 1);
    }
  });

  it('gives its entries to who wants them, and tells how far it is', async () => {
    const entries: AuditEntry[] = [];
    const report = await verify(lines, { onEntry: (read) => entries.push(read) });
    expect(report.isSound).toBe(true);
    expect(entries.map(({ index }) => index)).toEqual(lines.slice(1).map((_, index) => index));
  });

  it('an entry changed: its index, in the signed part and behind it', async () => {
    for (const index of [0, 1, 2, 57, lines.length - 3]) {
      const changed = lines.with(at(index), (lines[at(index)] ?? '').replace('"at":17', '"at":16'));
      expect(found(await verify(changed)), `${index}`).toEqual([['entry_changed', index, index + 1]]);
    }
  });

  it('the last entry changed: the part that was signed', async () => {
    const last = lines.length - 2;
    const changed = lines.with(at(last), (lines[at(last)] ?? '').replace('"at":17', '"at":16'));
    const [[code, , to] = []] = found(await verify(changed));
    expect([code, to]).toEqual(['history_rewritten', last + 1]);
  });

  it('an entry changed to none', async () => {
    const changed = lines.with(at(30), (lines[at(30)] ?? '').replace('"index"', '"indx"'));
    expect(found(await verify(changed))[0]).toEqual(['entry_malformed', 30, 31]);
  });

  it('entries removed: which', async () => {
    expect(found(await verify(without(0)))).toEqual([['entry_removed', 0, 1]]);
    expect(found(await verify(without(33)))).toEqual([['entry_removed', 33, 34]]);
    expect(found(await verify(lines.toSpliced(at(20), 30)))).toEqual([['entry_removed', 20, 50]]);
    expect(found(await verify(without(33).toSpliced(at(60), 2)))).toEqual([
      ['entry_removed', 33, 34],
      ['entry_removed', 61, 63],
    ]);
  });

  it('entries reordered: which', async () => {
    const swapped = lines.with(at(40), lines[at(41)] ?? '').with(at(41), lines[at(40)] ?? '');
    expect(found(await verify(swapped))).toEqual([['entry_reordered', 40, 41]]);
    const moved = without(10).toSpliced(at(80), 0, lines[at(10)] ?? '');
    expect(found(await verify(moved))).toEqual([['entry_reordered', 10, 11]]);
  });

  it('an entry inserted', async () => {
    const doubled = lines.toSpliced(at(40), 0, lines[at(40)] ?? '');
    expect(found(await verify(doubled))).toEqual([['entry_inserted', 40, 41]]);
  });

  it('an entry appended by hand, also one that fits', async () => {
    const extra = relinked([...lines, lines[at(1)] ?? '']);
    const size = lines.length - 1;
    expect(found(await verify(extra))).toEqual([['entry_appended', size, size + 1]]);
  });

  it('all numbered and linked anew after a change, a removal, an insertion: the part that was signed', async () => {
    const first = entry(21);
    expect(first.kind).toBe('checkpoint');
    const changed = lines.with(
      at(30),
      (lines[at(30)] ?? '').replace('jwt-', 'csr-').replace('done', 'failed'),
    );
    expect(found(await verify(relinked(changed)))).toEqual([['history_rewritten', 21, 42]]);
    expect(found(await verify(relinked(without(30))))[0]?.[0]).toBe('history_rewritten');
    const doubled = lines.toSpliced(at(30), 0, lines[at(30)] ?? '');
    expect(found(await verify(relinked(doubled)))).toEqual([['history_rewritten', 21, 42]]);
  });

  it('the tail cut', async () => {
    const cut = lines.slice(0, -5);
    const size = lines.length - 1;
    expect(found(await verify(cut))).toEqual([['tail_cut', size - 5, size]]);
    expect(found(await verify(lines.slice(0, 1)))).toEqual([['tail_cut', 0, size]]);
  });

  it('an older copy: by a checkpoint that was seen later', async () => {
    expect((await verify(lines, { checkpoints: [later] })).findings.map(({ code }) => code)).toEqual([
      'log_restored',
    ]);
  });

  it('an older copy that was written on: by a checkpoint of the other history', async () => {
    const size = lines.length - 1;
    const other = await fillAuditLog(join(temp.path, 'copy'), key, { count: 60, every: 10 });
    const given = await exported(other);
    expect(given.length).toBeGreaterThan(size);
    expect((await verify(given, { checkpoints: [forked] })).isSound).toBe(true);
    expect((await verify(given, { checkpoints: [later] })).findings.map(({ code }) => code)).toEqual([
      'log_forked',
    ]);
    await other.close();
  });

  it('an older copy: by the counter', async () => {
    const log = await fillAuditLog(join(temp.path, 'anchored'), key, { count: 1, every: 1 });
    log.append({ at: log.now(), kind: 'anchor', value: '41', attest: '', signature: '', head: '' });
    const given = await exported(log);
    expect((await verify(given, { counter: 41n })).isSound).toBe(true);
    expect(found(await verify(given, { counter: 42n }))).toEqual([['counter_ahead', undefined, undefined]]);
    expect(found(await verify(lines, { counter: 1n }))).toEqual([['counter_ahead', undefined, undefined]]);
    await log.close();
  });

  it('checkpoints by another key, of another log, and of none', async () => {
    const other = makeAuditKey();
    const codes = async (
      given: readonly string[],
      keys: readonly AuditKey[],
      checkpoints: readonly string[] = [],
    ) =>
      (await verify(given, { keys: keys.map(({ publicJwk }) => publicJwk), checkpoints })).findings.map(
        ({ code }) => code,
      );
    expect(new Set(await codes(lines, [other]))).toEqual(
      new Set(['checkpoint_foreign', 'checkpoint_missing']),
    );
    expect(await codes(lines, [other, key])).toEqual([]);
    const head = { origin: 'agentkeyd/x', size: 5, root: new Uint8Array(32) };
    expect(await codes(lines, [key], [key.noteOf(head)])).toEqual(['checkpoint_foreign']);
    expect(await codes(lines, [key], [other.noteOf(head)])).toEqual(['checkpoint_foreign']);
    expect(await codes(lines, [key], ['nothing'])).toEqual(['checkpoint_malformed']);
    expect(await codes(lines, [])).toContain('checkpoint_missing');
    const forged = later.replace(/\n\d+\n/, '\n9999\n');
    expect(await codes(lines, [key], [forged])).toEqual(['checkpoint_invalid']);
  });

  it('a log whose key was another before is sound, and says so', async () => {
    const [before, now] = [makeAuditKey(), makeAuditKey()];
    const directory = join(temp.path, 'two-keys');
    await (await fillAuditLog(directory, before, { count: 3, every: 1 })).close();
    const log = await fillAuditLog(directory, now, { count: 3, every: 1 });
    const given = await exported(log);
    const report = await verify(given, { keys: [now.publicJwk] });
    expect(report.isSound).toBe(true);
    expect(new Set(report.findings.map(({ code }) => code))).toEqual(new Set(['checkpoint_key_unknown']));
    expect((await verify(given, { keys: [now.publicJwk, before.publicJwk] })).findings).toEqual([]);
    expect((await verify(given, { keys: [before.publicJwk] })).isSound).toBe(false);
    await log.close();
  });

  it('a checkpoint within, signed by somebody else over a rewritten part, is no excuse', async () => {
    const other = makeAuditKey();
    const [header = '', ...entries] = relinked(
      lines.with(at(5), (lines[at(5)] ?? '').replace('jwt-', 'csr-').replace('"at":17', '"at":16')),
    );
    const frontier = new MerkleFrontier();
    const resigned = entries.map((line) => {
      const parsed = parseAuditEntry(Buffer.from(line));
      let text = line;
      if (parsed.kind === 'checkpoint') {
        const origin = parsed.note.split('\n')[0] ?? '';
        const note = other.noteOf({ origin, size: frontier.size, root: frontier.root() });
        text = JSON.stringify({ ...parsed, note });
      }
      frontier.append(leafHash(Buffer.from(text)));
      return text;
    });
    const report = await verify(relinked([header, ...resigned]));
    expect(report.isSound).toBe(false);
    expect(report.signed).toBeUndefined();
  });

  it('is refused cut at every offset of its end and beginning, and with anything behind it', async () => {
    const whole = `${lines.slice(0, 12).join('\n')}\n`;
    for (const end of [...Array(whole.length).keys()].filter((i) => i < 900 || i % 13 === 0)) {
      const report = await verify([whole.slice(0, end)], {}, '');
      expect(report.isSound, `${end}`).toBe(false);
    }
    const size = lines.length - 1;
    expect(found(await verify(lines, {}, ''))).toEqual([
      ['export_malformed', undefined, undefined],
      ['tail_cut', size - 1, size],
    ]);
    expect((await verify(lines, {}, '\n\n')).findings.map(({ code }) => code)).toContain('entry_malformed');
    expect((await verify([...lines, 'x'.repeat(70_000)], {}, '')).findings.map(({ code }) => code)).toContain(
      'export_malformed',
    );
    expect((await verify(['x'.repeat(20_000)], {}, '')).findings.map(({ code }) => code)).toContain(
      'export_malformed',
    );
  });

  it('names a hundred faults and counts the rest', async () => {
    const report = await verify(
      lines.map((line, i) => (i === 0 ? line : `${line} x`)).flatMap((l) => [l, l, l]),
    );
    expect(report.findings.length).toBe(100);
    expect(report.more).toBeGreaterThan(100);
    expect(report.isSound).toBe(false);
  });
});
