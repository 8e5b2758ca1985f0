/** Audit keys in software, and logs filled with entries as the daemon writes them. */
import { generateKeyPairSync, sign } from 'node:crypto';
import type { AuditLog, AuditLogOptions } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/open-audit-log.ts';
import type { AuditRecord } from '../../src/wire/audit-entry.ts';
import { checkpointText, signedCheckpoint, type TreeHead } from '../../src/wire/checkpoint.ts';
import { parsePublicJwk, type PublicJwk } from '../../src/wire/jwk.ts';

export interface AuditKey {
  readonly publicJwk: PublicJwk;
  sign(octets: Uint8Array): Promise<Uint8Array>;
  noteOf(head: TreeHead): string;
}

export function makeAuditKey(): AuditKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
  const publicJwk = parsePublicJwk({ kty, crv, x, y, alg: 'ES256' });
  const signed = (octets: Uint8Array): Uint8Array =>
    sign('sha256', octets, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return {
    publicJwk,
    sign: (octets) => Promise.resolve(signed(octets)),
    noteOf: (head) => signedCheckpoint(head, publicJwk, signed(Buffer.from(checkpointText(head)))),
  };
}

export const permit = (at: number, action = 'jwt'): AuditRecord => ({
  at,
  kind: 'decision',
  action,
  effect: 'permit',
  policies: ['owner'],
  policyVersion: 1,
  caller: { ingress: 'shared', uid: 1000, gid: 1000, pid: 4711, startTimeTicks: '12', unit: 'a.service' },
  agent: { id: 'spiffe://example.org/agent/buyer', name: 'buyer', kid: 'k'.repeat(43) },
  octetsSha256: 'ab'.repeat(32),
  parameters: { method: 'POST', origin: 'https://rs.example', path: '/orders' },
});

export const done = (at: number, decision: number): AuditRecord => ({
  at,
  kind: 'outcome',
  decision,
  effect: 'done',
  signatureSha256: 'cd'.repeat(32),
});

/** A log with `count` decisions and their outcomes, with a checkpoint after every `every`. */
export async function fillAuditLog(
  directory: string,
  key: AuditKey,
  { count, every, ...more }: { count: number; every: number } & Partial<AuditLogOptions>,
): Promise<AuditLog> {
  let clock = 1_760_000_000_000;
  const log = await openAuditLog({
    directory,
    signer: () => Promise.resolve(key),
    now: () => (clock += 1),
    ...more,
  });
  for (let i = 0; i < count; i += 1) {
    const { index } = log.append(permit(log.now(), `jwt-${i}`));
    log.append(done(log.now(), index));
    if ((i + 1) % every === 0) await log.checkpoint();
  }
  await log.head();
  return log;
}
