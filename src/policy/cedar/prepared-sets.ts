/**
 * Policy sets that Cedar has parsed. It keeps them by name for as long as the process lives and offers no way to
 * drop one, so that names are used again: the least recently used sets give way, emptied.
 */
import {
  preparsePolicySet,
  statefulIsAuthorized,
  type AuthorizationAnswer,
  type StatefulAuthorizationCall,
} from '@cedar-policy/cedar-wasm/nodejs';
import { KeydError } from '../../wire/problem.ts';

const MAX_SETS = 1024;
/** Over all sets: some 40 MB. */
const MAX_POLICIES = 20_000;

/** Policies by id, as text. */
export type PreparableSet = ReadonlyMap<string, string>;

/** In order of use, the latest last. One for all engines, because Cedar's table is one for the thread. */
const names = new Map<PreparableSet, string>();
const freeNames: string[] = [];
let policies = 0;
let namesMade = 0;

/** Judges by a set, parsed at its first use; the same set should be the same object. @throws KeydError `internal` */
export function askCedar(
  set: PreparableSet,
  call: Omit<StatefulAuthorizationCall, 'preparsedPolicySetId'>,
): AuthorizationAnswer {
  return statefulIsAuthorized({ ...call, preparsedPolicySetId: nameOf(set) });
}

/** How much Cedar holds, for tests. */
export function preparedSets(): { readonly sets: number; readonly policies: number; readonly names: number } {
  return { sets: names.size, policies, names: namesMade };
}

function nameOf(set: PreparableSet): string {
  const known = names.get(set);
  if (known !== undefined) {
    names.delete(set);
    names.set(set, known);
    return known;
  }
  while (names.size > 0 && (names.size >= MAX_SETS || policies + set.size > MAX_POLICIES)) evictOldest();
  const name = freeNames.pop() ?? `set-${(namesMade += 1)}`;
  prepare(name, set);
  names.set(set, name);
  policies += set.size;
  return name;
}

function evictOldest(): void {
  const [oldest] = names;
  if (oldest === undefined) return;
  const [set, name] = oldest;
  prepare(name, new Map());
  names.delete(set);
  policies -= set.size;
  freeNames.push(name);
}

function prepare(name: string, set: PreparableSet): void {
  const answer = preparsePolicySet(name, { staticPolicies: Object.fromEntries(set) });
  if (answer.type === 'failure') {
    const [error] = answer.errors;
    throw new KeydError('internal', `Cedar refuses a set that it took before: ${error?.message ?? ''}`);
  }
}
