/** examples/verify-audit.ts as docs/audit.md has it run, over the sources instead of the package. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { encodeBase64url } from '../../../src/wire/base64url.ts';
import { fillAuditLog, makeAuditKey } from '../../support/audit-keys.ts';
import { EXAMPLE_HOOK, exampleFile } from '../../support/example-hook.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
let temp: TempDir;
const at = (name: string): string => join(temp.path, name);

async function exported(log: AuditLog): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of log.export()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

beforeAll(async () => {
  temp = await makeTempDir();
  const log = await fillAuditLog(at('audit'), key, { count: 20, every: 10 });
  writeFileSync(at('older.ndjson'), await exported(log));
  await log.append({ at: 1, kind: 'denials', share: 'uid:1', count: 1, since: 1 }).durable;
  await log.append({ at: 1, kind: 'denials', share: 'uid:1', count: 1, since: 1 }).durable;
  const made = await log.checkpoint();
  if (made === undefined) throw new Error('there is no checkpoint');
  writeFileSync(at('audit.ndjson'), await exported(log));
  const [octets = new Uint8Array()] = log.entries(7, 8);
  const proof = {
    index: 7,
    entry: Buffer.from(octets).toString(),
    proof: log.inclusion(7, made.head.size).map(encodeBase64url),
    checkpoint: made.note,
    publicJwk: key.publicJwk,
  };
  writeFileSync(at('proof.json'), JSON.stringify(proof));
  writeFileSync(at('forged.json'), JSON.stringify({ ...proof, entry: proof.entry.replace('jwt-', 'raw-') }));
  writeFileSync(at('audit-key.json'), JSON.stringify(key.publicJwk));
  writeFileSync(at('other-key.json'), JSON.stringify(makeAuditKey().publicJwk));
  writeFileSync(at('changed.ndjson'), readFileSync(at('audit.ndjson'), 'utf8').replace('jwt-3', 'jwt-4'));
  await log.close();
});
afterAll(() => temp.remove());

function run(...args: readonly string[]): { readonly status: number | null; readonly out: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', EXAMPLE_HOOK, exampleFile('verify-audit.ts'), ...args],
    { cwd: temp.path, encoding: 'utf8' },
  );
  return { status, out: stdout + stderr };
}

describe('examples/verify-audit.ts', () => {
  it('says what a proof proves', () => {
    const { out, status } = run('proof', 'audit-key.json', 'proof.json');
    expect(out).toMatch(/^entry 7 of \d+ in agentkeyd\//);
    expect(status).toBe(0);
  });

  it('finds a forged one, and one by another key', () => {
    expect(run('proof', 'audit-key.json', 'forged.json')).toMatchObject({ status: 1 });
    expect(run('proof', 'other-key.json', 'proof.json').out).toContain('checkpoint_foreign');
  });

  it('verifies an export, and names what was changed or put back', () => {
    expect(run('export', 'audit-key.json', 'audit.ndjson', 'proof.json')).toMatchObject({ status: 0 });
    expect(run('export', 'audit-key.json', 'changed.ndjson').out).toContain('fault entry_changed');
    expect(run('export', 'audit-key.json', 'older.ndjson')).toMatchObject({ status: 0 });
    expect(run('export', 'audit-key.json', 'older.ndjson', 'proof.json').out).toContain('fault log_restored');
  });
});
