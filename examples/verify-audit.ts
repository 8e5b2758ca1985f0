/**
 * Checks what an agent host's audit log proves, with nothing but the public key that signs it: no daemon, no TPM.
 *
 *   node examples/verify-audit.ts proof audit-key.json proof.json              one entry (agentkey audit prove)
 *   node examples/verify-audit.ts export audit-key.json audit.ndjson [SEEN...] the whole log (agentkey audit export)
 *
 * SEEN are proofs or checkpoints that were kept from earlier: only they show that a whole, older copy was put back.
 * The key comes from elsewhere than the log: `agentkey audit key`, once, on a day when the host was trusted.
 * Ends with 0 where everything holds, 1 where something was found.
 */
import { createReadStream, readFileSync } from 'node:fs';
import {
  trustedKey,
  verifyAuditExport,
  verifyAuditProof,
  type AuditFinding,
  type PublicJwk,
} from 'agentkeyd/verify';

const [what, keyFile = 'audit-key.json', file = 'proof.json', ...seenFiles] = process.argv.slice(2);
const keys: readonly PublicJwk[] = [trustedKey(json(keyFile)).jwk];

if (what === 'proof') {
  const { entry, findings, head } = verifyAuditProof(json(file), keys);
  if (entry !== undefined && head !== undefined) {
    console.log(`entry ${entry.index} of ${head.size} in ${head.origin}: ${JSON.stringify(entry)}`);
  }
  end(findings);
} else if (what === 'export') {
  const report = await verifyAuditExport(createReadStream(file), {
    keys,
    checkpoints: seenFiles.map((seen) => (json(seen) as { readonly checkpoint: string }).checkpoint),
    onProgress: (entries, total) => {
      if (entries % 100_000 === 0) console.error(`verified ${entries} of ${total} entries`);
    },
  });
  console.log(`${report.entries} entries, signed for up to ${report.signed?.size ?? 0}`);
  end(report.findings);
} else {
  console.error('usage: verify-audit.ts proof|export KEY FILE [SEEN...]');
  process.exitCode = 2;
}

function json(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function end(findings: readonly AuditFinding[]): void {
  for (const { code, severity, detail } of findings) console.log(`${severity} ${code}: ${detail}`);
  if (findings.some(({ severity }) => severity === 'fault')) process.exitCode = 1;
}
