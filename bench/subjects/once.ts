/** Everything that is measured beside the rounds: what scale costs. Each part makes its own state, once. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { OnceFigures } from '../figures.ts';
import { measureAudit } from './scale/audit.ts';
import type { Detail, ScaleContext, Scaled } from './scale/context.ts';
import { measureDelegations } from './scale/delegations.ts';
import { measureIssuances } from './scale/issuances.ts';
import { measureIssuerCore } from './scale/issuer-core.ts';
import { measurePolicies } from './scale/policies.ts';
import { measureTpmAgents } from './scale/tpm-agents.ts';
import type { BenchSandbox } from './sandbox.ts';

export interface OnceResults {
  readonly figures: OnceFigures;
  readonly details: readonly Detail[];
}

export async function measureOnce(context: ScaleContext, sandbox: BenchSandbox): Promise<OnceResults> {
  const own = async (name: string): Promise<ScaleContext> => {
    const dir = join(context.dir, name);
    await mkdir(dir, { recursive: true });
    return { ...context, dir };
  };
  const policies = await measurePolicies(await own('p'), sandbox);
  const oneHost = await measureIssuances(await own('i'), sandbox);
  const issuances = await measureIssuerCore(await own('f'));
  const delegations = await measureDelegations(await own('d'), sandbox);
  const agents = await measureTpmAgents(await own('t'));
  const audit = await measureAudit(await own('a'));
  const all: readonly Scaled[] = [policies, agents.cost, audit, agents.start, agents.resident, issuances];
  return {
    figures: {
      policies_1000_vs_10: policies.spread,
      agents_10k_vs_10: agents.cost.spread,
      audit_1m_vs_10k: audit.spread,
      start_ready_s: agents.start.spread,
      resident_mib: agents.resident.spread,
      issuances_per_s: issuances.spread,
    },
    details: [...all.flatMap(({ details }) => details), ...oneHost, ...delegations],
  };
}
