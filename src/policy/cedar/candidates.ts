/** The policies that can apply to a request, and what Cedar and the checks need of each distinct group of them. */
import type { PolicyRequest } from '../verdict.ts';
import type { CompiledPolicy } from './compile-policy.ts';
import { documentReaders, type DocumentReaders } from './document-checks.ts';
import { OriginIndex } from './origin-index.ts';
import { PLAIN, targetOf } from './plain-context.ts';
import { matchesPins } from './pins.ts';
import type { PreparableSet } from './prepared-sets.ts';
import { mergeReads, type Reads } from './reads.ts';
import { ALL_ACTIONS, type ActionName } from './schema.ts';

/** Policies that are judged together. The same policies are the same object while it is remembered. */
export interface Candidates {
  /** In file order. */
  readonly policies: readonly CompiledPolicy[];
  readonly reads: Reads;
  /** What is put to Cedar together: those that read the context, and those that do not and so are asked the same thing often. */
  readonly parts: readonly CandidatePart[];
  /** Those that read a document, in file order; a document that none reads has no entry. */
  readonly readers: DocumentReaders;
}

export interface CandidatePart {
  readonly policies: readonly CompiledPolicy[];
  readonly set: PreparableSet;
  readonly reads: Reads;
  /** Distinct within its engine. */
  readonly key: string;
}

const MAX_GROUPS = 4096;

/** Whether the policy's scope has this caller. */
function isOf({ scope }: CompiledPolicy, { caller }: PolicyRequest): boolean {
  return scope.caller === undefined || scope.caller === String(caller.uid);
}

export class CandidateIndex {
  readonly #byAction: ReadonlyMap<ActionName, OriginIndex>;
  readonly #numbers: ReadonlyMap<CompiledPolicy, number>;
  readonly #groups = new Map<string, Candidates>();

  constructor(policies: readonly CompiledPolicy[]) {
    this.#numbers = new Map(policies.map((policy, number) => [policy, number]));
    this.#byAction = new Map(
      ALL_ACTIONS.map((action) => [
        action,
        new OriginIndex(policies.filter(({ scope }) => scope.actions.has(action))),
      ]),
    );
  }

  /** Those whose scope covers the request and whose pins it does not miss. */
  of(request: PolicyRequest): Candidates {
    const { parameters, facts } = request;
    const pinned = (attribute: string): string | number | undefined => {
      const value = PLAIN[attribute]?.(parameters, facts);
      return typeof value === 'string' || typeof value === 'number' ? value : undefined;
    };
    const policies: CompiledPolicy[] = [];
    for (const policy of this.#covering(request, targetOf(parameters)?.origin)) {
      if (isOf(policy, request) && (policy.pins.size === 0 || matchesPins(policy.pins, pinned))) {
        policies.push(policy);
      }
    }
    return this.#group(policies);
  }

  /** Those whose scope covers the request, whatever their conditions. */
  inScope(request: PolicyRequest): readonly CompiledPolicy[] {
    return this.#covering(request, undefined).filter((policy) => isOf(policy, request));
  }

  /** For any caller. */
  #covering({ agent, parameters }: PolicyRequest, origin: string | undefined): readonly CompiledPolicy[] {
    return this.#byAction.get(parameters.operation)?.covering(agent.name, origin) ?? [];
  }

  #group(policies: readonly CompiledPolicy[]): Candidates {
    const key = this.#key(policies);
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const { constant = [], varying = [] } = Object.groupBy(policies, ({ reads }) =>
      reads.context.size === 0 ? 'constant' : 'varying',
    );
    const parts = [constant, varying].filter((part) => part.length > 0).map((part) => this.#part(part));
    const reads = mergeReads(policies.map((policy) => policy.reads));
    const group: Candidates = { policies, reads, parts, readers: documentReaders(policies) };
    // Groups are as many as policies make them, and a caller can not make more.
    if (this.#groups.size >= MAX_GROUPS) this.#groups.clear();
    this.#groups.set(key, group);
    return group;
  }

  #part(policies: readonly CompiledPolicy[]): CandidatePart {
    return {
      policies,
      set: new Map(policies.map(({ id, text }) => [id, text])),
      reads: mergeReads(policies.map(({ reads }) => reads)),
      key: this.#key(policies),
    };
  }

  #key(policies: readonly CompiledPolicy[]): string {
    return policies.map((policy) => this.#numbers.get(policy)).join();
  }
}
