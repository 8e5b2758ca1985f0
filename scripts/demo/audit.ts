/** Step: what was decided is on record, and an entry is proved to who trusts neither the daemon nor its host's files. */
import type { AgentKeyClient } from 'agentkeyd/client';
import {
  verifyAuditProof,
  type AuditEntry,
  type AuditFinding,
  type AuditProof,
  type PublicJwk,
} from 'agentkeyd/verify';
import { check, fact, refused, step } from './narrator.ts';

export async function showAudit(operator: AgentKeyClient): Promise<void> {
  step('The audit log: the payment is proved with the log’s public key and nothing else');
  const { publicJwk } = (await operator.call('GET', '/v1/audit/checkpoint')) as {
    readonly publicJwk: PublicJwk;
  };
  const index = await indexOfPayment(operator);
  const proof = (await operator.call('GET', `/v1/audit/proof?index=${index}`)) as AuditProof;
  await check('the entry stands in the signed log', 'agentkeyd/verify', () => {
    const { isSound, entry, findings } = verifyAuditProof(proof, [publicJwk]);
    if (!isSound || entry?.kind !== 'decision') throw new Error(said(findings));
    fact('entry', `${entry.index}: ${entry.agent?.name ?? '-'} ${entry.action} ${entry.effect}`);
    fact('by', entry.policies.join(', '));
    fact(
      'charged',
      entry.reservation?.charges.map(({ unit, amount }) => `${amount} ${unit}`).join(', ') ?? '-',
    );
  });
  await refused(
    'the entry with one digit of the amount changed',
    /proof_invalid|history_rewritten|entry/,
    () => {
      const entry = proof.entry.replace('300000', '300001');
      const { isSound, findings } = verifyAuditProof({ ...proof, entry }, [publicJwk]);
      return Promise.resolve(isSound ? undefined : said(findings));
    },
  );
}

function said(findings: readonly AuditFinding[]): string {
  return findings.map(({ code, detail }) => `${code}: ${detail}`).join('; ');
}

/** The decision that let the $3,000 through. */
async function indexOfPayment(operator: AgentKeyClient): Promise<number> {
  for (let from = 0; ;) {
    const page = (await operator.call('GET', `/v1/audit/entries?from=${from}&limit=1000`)) as {
      readonly entries: readonly string[];
    };
    const entries = page.entries.map((text) => JSON.parse(text) as AuditEntry);
    const found = entries.find(
      (entry) =>
        entry.kind === 'decision' && entry.effect === 'permit' && entry.policies.includes('payment-3000'),
    );
    if (found !== undefined) return found.index;
    if (entries.length === 0) throw new Error('the payment is not in the log');
    from += entries.length;
  }
}
