import { createHash } from 'node:crypto';
import { validate } from '@cedar-policy/cedar-wasm/nodejs';
import { KeydError } from '../../wire/problem.ts';
import { cedarFault, compilePolicy, type CompiledPolicy } from './compile-policy.ts';
import { CedarPolicySet } from './engine.ts';
import type { PolicyFile, PolicySet } from './policy-set.ts';
import { POLICY_SCHEMA } from './schema.ts';
import { splitPolicies } from './split-policies.ts';

const MAX_POLICIES = 10_000;
const MAX_FILE_OCTETS = 4 * 1024 * 1024;

/**
 * A set of policies, each file read, each policy validated against the schema, all faults found. No file, or files
 * without a policy, deny everything.
 * @throws KeydError `configuration_invalid` with `faults`, each "file:line: reason"
 */
export function loadPolicySet(files: readonly PolicyFile[]): PolicySet {
  const faults: string[] = [];
  const policies: CompiledPolicy[] = [];
  for (const { name, text } of files) {
    if (Buffer.byteLength(text) > MAX_FILE_OCTETS) {
      faults.push(`${name}:1: is longer than ${MAX_FILE_OCTETS} octets`);
      continue;
    }
    for (const piece of splitPolicies(text)) {
      const compiled = compilePolicy(name, piece);
      faults.push(...compiled.faults);
      if (compiled.policy !== undefined) policies.push(compiled.policy);
    }
  }
  if (policies.length > MAX_POLICIES) faults.push(`there are more than ${MAX_POLICIES} policies`);
  faults.push(...repeatedIds(policies), ...schemaFaults(policies));
  if (faults.length > 0) {
    const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : '';
    throw new KeydError('configuration_invalid', `the policy set is not valid: ${faults[0]}${more}`, {
      faults,
    });
  }
  return new CedarPolicySet(policies, fingerprint(files));
}

function repeatedIds(policies: readonly CompiledPolicy[]): readonly string[] {
  const first = new Map<string, CompiledPolicy>();
  return policies.flatMap((policy) => {
    const before = first.get(policy.id);
    first.set(policy.id, before ?? policy);
    if (before === undefined || policy.id === '') return [];
    return [`${policy.file}:${policy.line}: the id ${policy.id} is taken by ${before.file}:${before.line}`];
  });
}

/** By position, so that ids that are missing or taken hide nothing. */
function schemaFaults(policies: readonly CompiledPolicy[]): readonly string[] {
  const answer = validate({
    schema: POLICY_SCHEMA,
    policies: {
      staticPolicies: Object.fromEntries(policies.map(({ text }, position) => [String(position), text])),
    },
  });
  if (answer.type === 'failure') return answer.errors.map(({ message }) => `the policy set: ${message}`);
  // A warning is about a policy that does nothing, or text that looks like other text: nobody means that.
  const found = [...answer.validationErrors, ...answer.validationWarnings];
  return found.map(({ policyId, error }) => {
    const policy = policies[Number(policyId)];
    if (policy === undefined) return `the policy set: ${error.message}`;
    return cedarFault(policy.file, policy.text, policy.line, error);
  });
}

/** Over the schema and every file by name, in the order of names: what is the same set has the same one. */
function fingerprint(files: readonly PolicyFile[]): string {
  const hash = createHash('sha256').update(POLICY_SCHEMA);
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, text } of sorted) {
    hash.update(`\0${Buffer.byteLength(name)}:${name}${Buffer.byteLength(text)}:`).update(text);
  }
  return hash.digest('hex');
}
