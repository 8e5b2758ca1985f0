/** `agentkey audit` against a real log: behind the routes of a daemon, as files, and as a directory. */
import { appendFileSync, cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { frameRecord, readSegment } from '../../../src/base/journal-segment.ts';
import { main } from '../../../src/cli/main.ts';
import { encodeBase64url } from '../../../src/wire/base64url.ts';
import { fillAuditLog, makeAuditKey, permit } from '../../support/audit-keys.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
let temp: Awaited<ReturnType<typeof makeTempDir>>;
let log: AuditLog;
let server: Server;
let keyFile: string;
/** What the daemon makes of an entry: a hostile one may lie. */
let entriesAs = (entries: readonly string[]): readonly string[] => entries;

const path = (name: string): string => join(temp.path, name);

async function agentkey(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const streams = { out: (text: string) => (out += text), err: (text: string) => (err += text) };
  const code = await main(['--admin-socket', path('s'), '--socket', path('s'), ...args], streams);
  return { code, out, err };
}

/** The routes of the daemon over this log; their own tests are the daemon's. */
async function answer(url: URL): Promise<unknown> {
  const { head, note, publicJwk } = (await log.checkpoint()) ?? {};
  const number = (name: string): number => Number(url.searchParams.get(name));
  const textOf = (octets: Uint8Array): string => Buffer.from(octets).toString('utf8');
  switch (url.pathname) {
    case '/v1/audit/checkpoint':
      return { checkpoint: note, publicJwk };
    case '/v1/audit/entries': {
      const entries = log.entries(number('from'), number('from') + Math.min(number('limit'), 7));
      return { from: number('from'), size: log.size, entries: entriesAs(entries.map(textOf)) };
    }
    default: {
      const index = number('index');
      const proof = log.inclusion(index, head?.size ?? 0).map(encodeBase64url);
      const [octets = new Uint8Array()] = log.entries(index, index + 1);
      return { index, entry: textOf(octets), proof, checkpoint: note, publicJwk };
    }
  }
}

beforeAll(async () => {
  temp = await makeTempDir();
  log = await fillAuditLog(path('audit'), key, { count: 30, every: 10 });
  server = createServer((request, response) => {
    void answer(new URL(request.url ?? '', 'http://daemon')).then((value) =>
      response.end(JSON.stringify(value)),
    );
  });
  await new Promise<void>((resolve) => server.listen(path('s'), resolve));
  keyFile = path('key.json');
  writeFileSync(keyFile, JSON.stringify(key.publicJwk));
});
beforeEach(() => {
  entriesAs = (entries) => entries;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await log.close();
  await temp.remove();
});

describe('agentkey audit', () => {
  it('tail shows the newest entries, a line each', async () => {
    const { code, out } = await agentkey('audit', 'tail', '-n', '3');
    expect(code).toBe(0);
    expect(out.trimEnd().split('\n').length).toBe(3);
    expect(out).toMatch(/\d+ {2}\d{4}-\d\d-\d\dT[\d:.]+Z {2}/);
    const { out: all } = await agentkey('audit', 'tail', '-n', '1000');
    expect(all).toContain('permit jwt-0 buyer uid:1000 POST https://rs.example /orders (owner)');
    expect(all.split('\n')[0]).toContain('start unsigned=0 torn=0');
    expect(all.trimEnd().split('\n').length).toBe(log.size);
  });

  it('tail --json gives entries as they stand in the log', async () => {
    const { out } = await agentkey('audit', 'tail', '--json', '-n', '2');
    const entries = log.entries(log.size - 2, log.size).map((octets) => Buffer.from(octets).toString('utf8'));
    expect(out).toBe(`${entries.join('\n')}\n`);
  });

  it('tail --follow goes on with new entries, and ends with the daemon', async () => {
    let out = '';
    const ended = main(['--admin-socket', path('s'), 'audit', 'tail', '-n', '1', '--follow'], {
      out: (text) => (out += text),
      err: () => undefined,
    });
    await expect.poll(() => out).not.toBe('');
    const { index } = log.append(permit(log.now(), 'followed'));
    await log.head();
    await expect.poll(() => out).toContain(`${index}  `);
    expect(out.match(/followed/g)).toHaveLength(1);
    entriesAs = () => ['what a daemon never says'];
    log.append(permit(log.now(), 'unread'));
    await log.head();
    expect(await ended).not.toBe(0);
  });

  it('an entry steers no terminal', async () => {
    const { index } = log.append({ ...permit(log.now()), action: 'a\u001b[2J\u009b\u202eb' } as never);
    await log.head();
    const { out } = await agentkey('audit', 'tail', '-n', '2');
    expect(out).toContain(`${index} `);
    expect(out.replace(/\n/g, '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  it('show gives one entry, and exits 4 where there is none', async () => {
    expect(JSON.parse((await agentkey('audit', 'show', '1', '--json')).out)).toMatchObject({ index: 1 });
    expect((await agentkey('audit', 'show', '1')).out).toContain('jwt-0');
    expect((await agentkey('audit', 'show', '999999')).code).toBe(4);
    expect((await agentkey('audit', 'show', 'x')).code).toBe(2);
  });

  it('prove and verify --proof fit, and a changed proof exits 1', async () => {
    const { out } = await agentkey('audit', 'prove', '5');
    writeFileSync(path('proof.json'), out);
    const { code, out: told } = await agentkey(
      'audit',
      'verify',
      '--proof',
      path('proof.json'),
      '--key',
      keyFile,
    );
    expect({ code, told }).toMatchObject({
      code: 0,
      told: expect.stringContaining('proven: entry 5 of') as string,
    });
    writeFileSync(path('proof.json'), out.replace('jwt-2', 'jwt-3'));
    const other = await agentkey('audit', 'verify', '--proof', path('proof.json'), '--key', keyFile);
    expect(other.code).toBe(1);
    expect(other.err).toContain('proof_invalid');
  });

  it('export and verify fit, with the key of audit key', async () => {
    writeFileSync(path('key2.json'), (await agentkey('audit', 'key')).out);
    expect(await agentkey('audit', 'export', '--output', path('export'))).toEqual({
      code: 0,
      out: '',
      err: '',
    });
    const { out } = await agentkey('audit', 'export');
    expect(out).toBe(readFileSync(path('export'), 'utf8'));
    const { code, out: told } = await agentkey('audit', 'verify', path('export'), '--key', path('key2.json'));
    expect(code).toBe(0);
    expect(told).toMatch(/^sound: \d+ entries/);
    const json = await agentkey('--json', 'audit', 'verify', path('export'), '--key', keyFile);
    expect(JSON.parse(json.out)).toMatchObject({ isSound: true, findings: [] });
  });

  it('verify of a changed export exits 1 and names what and where', async () => {
    await agentkey('audit', 'export', '--output', path('changed'));
    const text = readFileSync(path('changed'), 'utf8');
    writeFileSync(path('changed'), text.replace('"action":"jwt-2"', '"action":"jwt-9"'));
    const { code, out, err } = await agentkey('audit', 'verify', path('changed'), '--key', keyFile);
    expect(code).toBe(1);
    expect(out).toMatch(/^NOT SOUND/);
    expect(out).toContain('fault  entry_changed 5:');
    expect(err).toContain('entry_changed');
  });

  it('verify asks the daemon where nothing is given, and finds one that lies', async () => {
    expect((await agentkey('audit', 'verify')).code).toBe(0);
    expect((await agentkey('audit', 'verify', '--key', keyFile)).code).toBe(0);
    entriesAs = (entries) => entries.map((entry) => entry.replace('"decision":1,', '"decision":2,'));
    const { code, out } = await agentkey('audit', 'verify');
    expect(code).toBe(1);
    expect(out).toContain('entry_changed 2:');
    writeFileSync(path('other.json'), JSON.stringify(makeAuditKey().publicJwk));
    entriesAs = (entries) => entries;
    expect((await agentkey('audit', 'verify', '--key', path('other.json'))).out).toContain(
      'checkpoint_foreign',
    );
  });

  it('verify without a key proves nothing, and two sources are one too many', async () => {
    expect(await agentkey('audit', 'verify', path('export'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('--key') as string,
    });
    const both = await agentkey(
      'audit',
      'verify',
      path('export'),
      '--directory',
      temp.path,
      '--key',
      keyFile,
    );
    expect(both.code).toBe(2);
    const missing = await agentkey('audit', 'verify', '--directory', path('nowhere'), '--key', keyFile);
    expect(missing).toMatchObject({ code: 2, err: expect.stringContaining('nowhere') as string });
  });
});

describe('S16: agentkey audit verify --directory, the daemon down', () => {
  let records: readonly Uint8Array[];
  let copies = 0;

  /** A copy of the log, ended as a daemon ends it. */
  async function copy(
    change: (records: readonly Uint8Array[]) => readonly Uint8Array[] = (r) => r,
  ): Promise<string> {
    const folder = path(`copy-${(copies += 1)}`);
    const directory = join(folder, 'audit');
    const ended = await fillAuditLog(directory, key, { count: 10, every: 4 });
    await ended.close();
    records = ended.entries(0, ended.size);
    writeFileSync(segment(folder), Buffer.concat(change(records).map(frameRecord)));
    return folder;
  }
  const segment = (folder: string): string =>
    join(folder, 'audit', readdirSync(join(folder, 'audit')).find((name) => name.endsWith('.log')) ?? '');
  const verify = async (folder: string, ...more: string[]) => {
    const { code, out } = await agentkey(
      '--json',
      'audit',
      'verify',
      '--directory',
      folder,
      '--key',
      keyFile,
      ...more,
    );
    const report = JSON.parse(out) as { findings: { code: string; from?: number }[] };
    return { code, found: report.findings.map(({ code: name, from }) => `${name} ${from ?? ''}`.trim()) };
  };

  it('as it was left', async () => {
    const folder = await copy();
    expect(await verify(folder)).toEqual({ code: 0, found: [] });
    expect(await verify(join(folder, 'audit'))).toEqual({ code: 0, found: [] });
  });

  it('a changed, removed, moved entry', async () => {
    const changed = (all: readonly Uint8Array[]): readonly Uint8Array[] =>
      all.with(
        3,
        Buffer.from(
          Buffer.from(all[3] ?? '')
            .toString()
            .replace('jwt-1', 'jwt-7'),
        ),
      );
    expect(await verify(await copy(changed))).toEqual({ code: 1, found: ['entry_changed 3'] });
    expect(await verify(await copy((all) => all.toSpliced(3, 1)))).toEqual({
      code: 1,
      found: ['entry_removed 3'],
    });
    const swapped = (all: readonly Uint8Array[]): readonly Uint8Array[] =>
      all.with(3, all[4] ?? new Uint8Array()).with(4, all[3] ?? new Uint8Array());
    expect(await verify(await copy(swapped))).toEqual({ code: 1, found: ['entry_reordered 3'] });
  });

  it('an octet changed on disk without regard to checksums', async () => {
    const folder = await copy();
    const octets = readFileSync(segment(folder));
    const at = octets.indexOf('jwt-1');
    octets[at] = 0x4a;
    writeFileSync(segment(folder), octets);
    expect(await verify(folder)).toEqual({ code: 1, found: ['entry_changed 3'] });
  });

  it('an entry appended by hand', async () => {
    const folder = await copy();
    appendFileSync(segment(folder), frameRecord(records[1] ?? new Uint8Array()));
    expect((await verify(folder)).found).toContain(`entry_appended ${records.length}`);
  });

  it('the tail cut after a checkpoint', async () => {
    const { code, found } = await verify(await copy((all) => all.slice(0, 12)));
    expect({ code, found }).toEqual({ code: 1, found: ['tail_cut 12'] });
  });

  it('what a crash tore is no fault', async () => {
    const folder = await copy();
    appendFileSync(segment(folder), Buffer.of(0, 0, 9, 9, 1, 2));
    expect(await verify(folder)).toEqual({ code: 0, found: [`tail_torn ${records.length}`] });
    expect(readSegment(segment(folder), () => true).tail).toBe(6);
  });

  it('the whole directory restored from an older copy', async () => {
    const folder = await copy();
    const older = path('older');
    cpSync(folder, older, { recursive: true });
    const goneOn = await fillAuditLog(join(folder, 'audit'), key, { count: 5, every: 2 });
    const later = await goneOn.checkpoint();
    await goneOn.close();
    writeFileSync(path('later'), later?.note ?? '');
    expect(await verify(older)).toEqual({ code: 0, found: [] });
    expect(await verify(older, '--checkpoint', path('later'))).toEqual({
      code: 1,
      found: [`log_restored ${records.length}`],
    });
    expect(await verify(folder, '--checkpoint', path('later'))).toEqual({ code: 0, found: [] });
    await (await fillAuditLog(join(older, 'audit'), key, { count: 50, every: 10 })).close();
    expect(await verify(older, '--checkpoint', path('later'))).toEqual({ code: 1, found: ['log_forked'] });
    expect(await verify(older, '--counter', '9')).toEqual({ code: 1, found: ['counter_ahead'] });
  });

  it('a checkpoint by another key', async () => {
    const other = makeAuditKey();
    const folder = path('foreign');
    await (await fillAuditLog(join(folder, 'audit'), other, { count: 5, every: 2 })).close();
    const { code, found } = await verify(folder);
    expect(code).toBe(1);
    expect(found).toContain('checkpoint_foreign');
  });
});
