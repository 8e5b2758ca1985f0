/** One policy, read once: everything that evaluation asks of its text. */
import { policyToJson, type DetailedError } from '@cedar-policy/cedar-wasm/nodejs';
import { parseAnnotations, type Annotations, type Meter } from './annotations.ts';
import { dependenceOf, type Dependence } from './bound-by-reads.ts';
import { selectsByExecutableOnly } from './caller-selection.ts';
import { conjunctsOf, type Conjunct } from './expression.ts';
import { isJsonPointer } from './json-pointer.ts';
import { listsMembers } from './listed-members.ts';
import { pinsOf, type Pins } from './pins.ts';
import type { PolicySummary } from './policy-set.ts';
import { readsOf, type Reads } from './reads.ts';
import { SIGN_ACTIONS, type ActionName } from './schema.ts';
import { scopeOf, type Scope } from './scope.ts';
import { UNSHOWN_HEADERS } from './tagged-context.ts';
import { lineAt, type PolicyText } from './split-policies.ts';

export interface CompiledPolicy extends PolicySummary {
  readonly text: string;
  readonly scope: Scope;
  readonly annotations: Annotations;
  readonly conjuncts: readonly Conjunct[];
  readonly pins: Pins;
  readonly reads: Reads;
  readonly dependence: Dependence;
}

export type Compiled =
  | { readonly policy: CompiledPolicy; readonly faults: readonly string[] }
  | { readonly policy: undefined; readonly faults: readonly string[] };

/** A policy, or one sentence for each thing that is wrong with it, beginning with file and line. */
export function compilePolicy(file: string, { text, line }: PolicyText): Compiled {
  const answer = policyToJson(text);
  if (answer.type === 'failure') {
    return { policy: undefined, faults: answer.errors.map((error) => cedarFault(file, text, line, error)) };
  }
  const { annotations, faults } = parseAnnotations(answer.json.annotations ?? {});
  const { scope, faults: scopeFaults } = scopeOf(answer.json);
  const conjuncts = conjunctsOf(answer.json);
  const { reads, faults: readFaults } = readsOf(answer.json.conditions.map(({ body }) => body));
  const policy: CompiledPolicy = {
    id: annotations.id ?? '',
    effect: answer.json.effect,
    file,
    line,
    text,
    scope,
    annotations,
    conjuncts,
    pins: pinsOf(conjuncts),
    reads,
    dependence: dependenceOf(reads),
  };
  const all = [...faults, ...scopeFaults, ...readFaults, ...togetherFaults(policy)];
  return { policy, faults: all.map((fault) => `${file}:${line}: the policy ${fault}`) };
}

/** A fault that Cedar found at an octet of the policy's text. */
export function cedarFault(file: string, text: string, line: number, error: DetailedError): string {
  const octet = error.sourceLocations?.[0]?.start ?? 0;
  // Cedar counts octets of UTF-8.
  const at = Buffer.from(text, 'utf8').subarray(0, octet).toString('utf8').length;
  const help = error.help === null ? '' : ` (${error.help})`;
  return `${file}:${line + lineAt(text, at) - 1}: ${error.message.replace(/^for policy `[^`]*`, /, '')}${help}`;
}

function togetherFaults({ effect, annotations, scope, conjuncts, reads }: CompiledPolicy): readonly string[] {
  const faults: string[] = [];
  if (effect === 'forbid' && annotations.obliges) {
    faults.push('is a forbid; only a permit carries other annotations than @id');
  }
  if (effect === 'permit' && selectsByExecutableOnly(conjuncts, scope.caller)) {
    faults.push(
      'selects its caller by the executable only, which another program can inherit; name a uid, gid, unit or container as well (S10)',
    );
  }
  if (annotations.obliges && ![...scope.actions].every(signs)) {
    faults.push(
      'has annotations for what is signed, and an action scope beyond that; scope it to Action::"sign", its members, or Action::"delegate"',
    );
  }
  faults.push(...tagFaults(reads));
  for (const meter of annotations.meters) faults.push(...meterFaults(meter, scope, conjuncts));
  return faults;
}

function signs(action: ActionName): boolean {
  return action === 'delegate' || (SIGN_ACTIONS as readonly string[]).includes(action);
}

/** Tags that no request can have: a forbid that reads one would never forbid. */
function tagFaults({ tags }: Reads): readonly string[] {
  const faults: string[] = [];
  for (const name of tags.get('headers') ?? []) {
    if (UNSHOWN_HEADERS.has(name)) faults.push(`reads the header ${name}, which policies are not shown`);
    if (name !== name.toLowerCase()) faults.push(`reads the header ${name}; names are in lower case here`);
  }
  for (const document of ['body', 'query', 'claims'] as const) {
    for (const pointer of tags.get(document) ?? []) {
      if (!isJsonPointer(pointer)) {
        faults.push(
          `reads ${JSON.stringify(pointer)} of the ${document}, which is no JSON Pointer such as "/amount"`,
        );
      }
    }
  }
  return faults;
}

const METERED = {
  body: { document: 'body', action: 'http-message' },
  query: { document: 'query', action: 'http-message' },
  claim: { document: 'claims', action: 'jwt' },
} as const;

function meterFaults({ source }: Meter, scope: Scope, conjuncts: readonly Conjunct[]): readonly string[] {
  if (source.from === 'fixed') return [];
  const { document, action } = METERED[source.from];
  const faults: string[] = [];
  if (scope.actions.size !== 1 || !scope.actions.has(action)) {
    faults.push(`meters its ${document}, and is not scoped to action == Action::"${action}"`);
  }
  if (!listsMembers(conjuncts, document)) {
    faults.push(
      `meters its ${document} and does not list the members allowed there: when { ["/amount"].containsAll(context.${document}.members) && ... } (S7)`,
    );
  }
  return faults;
}
