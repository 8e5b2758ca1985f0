/** A long audit log, made by the audit room over the daemon's own state: decisions, outcomes, a signed checkpoint. */
import { createLogger } from '../../../src/base/logger.ts';
import { loadConfig } from '../../../src/daemon/config.ts';
import { openEvidenceLogs } from '../../../src/daemon/evidence-logs.ts';
import { parseFlags } from '../../../src/daemon/flags.ts';
import { openHardware } from '../../../src/daemon/hardware.ts';
import { openState } from '../../../src/daemon/state/state.ts';
import { readSecret } from '../../../src/daemon/config-host.ts';
import type { AuditRecord } from '../../../src/wire/audit-entry.ts';

/** Under way at once, as many callers would have them. */
const BATCH = 512;

/** Appends until the log has `count` entries; the daemon of this configuration must not run. */
export async function writeAuditEntries(configFile: string, count: number): Promise<void> {
  const config = loadConfig(parseFlags(['--config', configFile]), process.env);
  const logger = createLogger({ name: 'bench', level: 'error' });
  const state = openState(config.stateDirectory);
  const hardware = await openHardware(config, state, readSecret(config.secret.path), logger);
  const { audit, ledger } = await openEvidenceLogs(config, state, hardware, logger);
  const [agent] = state.agents.list();
  if (agent === undefined) throw new Error('the state has no agent to write of');
  while (audit.size < count) {
    const decisions = Array.from({ length: BATCH }, () => audit.append(decision(agent)));
    await Promise.all(decisions.map(({ durable }) => durable));
    const outcomes = decisions.map(({ index }) => audit.append(outcome(index)));
    await Promise.all(outcomes.map(({ durable }) => durable));
  }
  await ledger.end();
  await audit.close();
  for (const { queue, backend } of hardware.lanes) {
    await queue.close();
    await backend.close();
  }
  state.close();
}

const SHA256 = '7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069';

function decision({ id, name, kid }: { id: string; name: string; kid: string }): AuditRecord {
  return {
    at: Date.now(),
    kind: 'decision',
    action: 'http-message',
    effect: 'permit',
    policies: ['owner-signs'],
    policyVersion: 1,
    caller: { ingress: 'shared', uid: 0, gid: 0, pid: 4711, startTimeTicks: '815', executableSha256: SHA256 },
    agent: { id, name, kid },
    octetsSha256: SHA256,
    parameters: { profile: 'rfc9421', method: 'POST', origin: 'https://bench.example', path: '/payments' },
  };
}

function outcome(index: number): AuditRecord {
  return { at: Date.now(), kind: 'outcome', decision: index, effect: 'done', signatureSha256: SHA256 };
}
