/** What satisfied permits demand together: of everything, the strictest (DECISIONS 20). */
import { USES, type Charge, type UnitName } from '../counters.ts';
import type { BoundParameter } from '../proposal.ts';
import type { Obligations } from '../verdict.ts';
import type { AmountSource, Meter } from './annotations.ts';
import type { CompiledPolicy } from './compile-policy.ts';
import type { Denial } from './denial.ts';
import type { RequestDocuments } from './documents.ts';
import { exactNumber } from './members.ts';

const DOCUMENTS = { body: 'body', query: 'query', claim: 'claims' } as const;

/** The obligations, or why the amount they would be about can not be told. */
export function obligationsOf(
  satisfied: readonly CompiledPolicy[],
  documents: RequestDocuments,
  binds: ReadonlySet<BoundParameter>,
): { readonly obligations: Obligations } | { readonly denial: Denial } {
  const costs = new Map<UnitName, bigint>();
  for (const { id, annotations } of satisfied) {
    for (const meter of annotations.meters) {
      const { from } = meter.source;
      if (from !== 'fixed' && !binds.has(DOCUMENTS[from])) {
        return refuse(
          id,
          'unbound_parameters',
          `meters the ${DOCUMENTS[from]}, which this proof does not bind`,
        );
      }
      const amount = meteredAmount(meter, documents);
      if (amount === undefined) {
        return refuse(
          id,
          'amount_not_exact',
          `meters ${place(meter.source)}, where no exact amount above zero stands`,
        );
      }
      const before = costs.get(meter.unit) ?? 0n;
      costs.set(meter.unit, amount > before ? amount : before);
    }
  }
  return {
    obligations: {
      approval: strictestApproval(satisfied),
      charges: chargesOf(satisfied, costs),
      ...(mayAgentReport(satisfied) ? { agentMayReport: true as const } : {}),
      scopes: scopesOf(satisfied),
    },
  };
}

function refuse(id: string, code: Denial['code'], what: string): { readonly denial: Denial } {
  return { denial: { code, policies: [id], reason: `the policy ${id} ${what}` } };
}

/** Above zero and exact in the unit's decimals: no rounding, no minus, no -0, no text in place of a number. */
function meteredAmount({ source, decimals }: Meter, documents: RequestDocuments): bigint | undefined {
  if (source.from === 'fixed') return source.amount;
  const document = documents.get(DOCUMENTS[source.from]);
  if ('unreadable' in document) return undefined;
  const number = exactNumber(document.leaves.get(source.pointer), source.from === 'query');
  const amount = number?.scaled(decimals);
  return amount !== undefined && amount > 0n ? amount : undefined;
}

function place(source: AmountSource): string {
  return source.from === 'fixed' ? 'a fixed amount' : `${source.pointer} of the ${DOCUMENTS[source.from]}`;
}

function strictestApproval(satisfied: readonly CompiledPolicy[]): Obligations['approval'] {
  let strictest: Obligations['approval'] = 'none';
  for (const { annotations } of satisfied) {
    if (annotations.approval === 'passkey') return 'passkey';
    if (annotations.approval === 'person') strictest = 'person';
  }
  return strictest;
}

/** The strictest wins: only where every policy that meters it says so. */
function mayAgentReport(satisfied: readonly CompiledPolicy[]): boolean {
  let isMetered = false;
  for (const { annotations } of satisfied) {
    if (annotations.meters.length === 0) continue;
    if (annotations.settle !== 'agent') return false;
    isMetered = true;
  }
  return isMetered;
}

/** The action's cost in each unit, then each policy's limits by themselves, with what the action costs in theirs. */
function chargesOf(
  satisfied: readonly CompiledPolicy[],
  costs: ReadonlyMap<UnitName, bigint>,
): readonly Charge[] {
  const charges: Charge[] = [];
  for (const [unit, amount] of costs) charges.push({ kind: 'budget', unit, amount });
  for (const { id, annotations } of satisfied) {
    for (const { limit, unit, window, per } of annotations.limits) {
      const amount = unit === USES ? 1n : (costs.get(unit) ?? 0n);
      charges.push({ kind: 'limit', policy: id, per, window, limit, unit, amount });
    }
  }
  return charges;
}

function scopesOf(satisfied: readonly CompiledPolicy[]): readonly string[] {
  const scopes = new Set<string>();
  for (const { annotations } of satisfied) for (const scope of annotations.scopes) scopes.add(scope);
  return [...scopes];
}
