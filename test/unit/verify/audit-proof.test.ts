/** A single proof, and a witness's question, answered by nothing but the audit key. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { verifyAuditConsistency, verifyAuditProof } from '../../../src/verify/index.ts';
import { encodeBase64url } from '../../../src/wire/base64url.ts';
import { fillAuditLog, makeAuditKey, permit } from '../../support/audit-keys.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const key = makeAuditKey();
const keys = [key.publicJwk];
let temp: Awaited<ReturnType<typeof makeTempDir>>;
let log: AuditLog;

beforeAll(async () => {
  temp = await makeTempDir();
  log = await fillAuditLog(join(temp.path, 'audit'), key, { count: 20, every: 7 });
});
afterAll(async () => {
  await log.close();
  await temp.remove();
});

async function proofOf(index: number) {
  const { note = '', head } = (await log.checkpoint()) ?? {};
  const [octets = new Uint8Array()] = log.entries(index, index + 1);
  return {
    index,
    entry: Buffer.from(octets).toString('utf8'),
    proof: log.inclusion(index, head?.size ?? 0).map(encodeBase64url),
    checkpoint: note,
  };
}

const codes = (value: unknown, trusted = keys): readonly string[] =>
  verifyAuditProof(value, trusted).findings.map(({ code }) => code);

describe('a proof', () => {
  it('of every entry verifies, and gives it', async () => {
    const { head } = (await log.checkpoint()) ?? {};
    for (let index = 0; index < (head?.size ?? 0); index += 1) {
      const report = verifyAuditProof(await proofOf(index), keys);
      expect(report).toMatchObject({ isSound: true, findings: [], entry: { index } });
    }
  });

  it('survives JSON, with the key of whoever made it', async () => {
    const document = JSON.stringify({ ...(await proofOf(3)), publicJwk: key.publicJwk });
    expect(codes(JSON.parse(document))).toEqual([]);
  });

  it('of another entry, place, path, checkpoint or key is none', async () => {
    const proof = await proofOf(3);
    const other = await proofOf(4);
    const foreign = makeAuditKey();
    expect(codes({ ...proof, entry: proof.entry.replace('"at":17', '"at":16') })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, entry: ` ${proof.entry}` })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, entry: other.entry })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, index: 4 })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, index: 1_000_000 })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, proof: proof.proof.toReversed() })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, proof: proof.proof.slice(1) })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, proof: [...proof.proof, 'AAAA'] })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, proof: Array<string>(65).fill('A'.repeat(43)) })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, more: 1 })).toEqual(['proof_invalid']);
    expect(codes({ ...proof, checkpoint: proof.checkpoint.replace(/\n\d+\n/, '\n9\n') })).toEqual([
      'checkpoint_invalid',
    ]);
    expect(codes({ ...proof, checkpoint: 'nothing' })).toEqual(['checkpoint_malformed']);
    expect(codes(proof, [foreign.publicJwk])).toEqual(['checkpoint_foreign']);
    expect(codes(proof, [])).toEqual(['checkpoint_foreign']);
    for (const value of [null, [], 'x', {}, 7]) expect(codes(value)).toEqual(['proof_invalid']);
  });
});

describe('a witness', () => {
  it('sees the log go on, and nothing else', async () => {
    const first = await log.checkpoint();
    log.append(permit(log.now()));
    const second = await log.checkpoint();
    if (first === undefined || second === undefined) expect.unreachable();
    const proof = log.consistency(first.head.size, second.head.size).map(encodeBase64url);
    const ask = (from: string, to: string, path: readonly string[] = proof) =>
      verifyAuditConsistency(from, to, path, keys)?.code;
    expect(ask(first.note, second.note)).toBeUndefined();
    expect(ask(first.note, first.note, [])).toBeUndefined();
    expect(ask(second.note, first.note)).toBe('log_restored');
    expect(ask(first.note, second.note, proof.slice(1))).toBe('proof_invalid');
    expect(ask(first.note, second.note, ['x'])).toBe('proof_invalid');
    const { origin, size } = second.head;
    const root = new Uint8Array(32);
    expect(ask(second.note, key.noteOf({ origin, size, root }), [])).toBe('log_forked');
    expect(ask(first.note, key.noteOf({ origin: 'agentkeyd/other', size, root }))).toBe('checkpoint_foreign');
    expect(ask(first.note, makeAuditKey().noteOf({ origin, size, root }))).toBe('checkpoint_foreign');
  });
});
