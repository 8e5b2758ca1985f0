import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readTomlConfig } from '../../base/toml-config.ts';
import { KeydError } from '../../wire/problem.ts';
import { loadPolicySet } from '../cedar/load-policy-set.ts';
import type { PolicySet } from '../cedar/policy-set.ts';
import { mergeGiven } from './case-policy-request.ts';
import { casesFile, type Case, type Given } from './case-shape.ts';

export interface PolicyCase {
  readonly name: string;
  readonly given: Given;
  readonly expected: {
    readonly decision: Case['expect'];
    readonly policies: readonly string[] | undefined;
    readonly code: string | undefined;
    readonly charges: readonly string[] | undefined;
  };
}

export interface PolicyCases {
  readonly cases: readonly PolicyCase[];
  /** The set that the file names beside itself; undefined where it names none. */
  readonly set: PolicySet | undefined;
}

/**
 * A file of cases.
 * @param own whether to load the set that the file names
 * @throws KeydError `configuration_invalid` with every fault of the file, or of the policies it names
 */
export function readCases(file: string, own: boolean): PolicyCases {
  const { case: cases, given = {}, policies } = readTomlConfig(file, casesFile);
  const twice = cases.find(({ name }, index) => cases.findIndex((each) => each.name === name) !== index);
  if (twice !== undefined) throw invalid(`${file}: two cases have the name ${JSON.stringify(twice.name)}`);
  return {
    set: own && policies !== undefined ? loadNamed(file, policies) : undefined,
    cases: cases.map(({ name, expect, policies: deciding, code, charges, ...situation }) => ({
      name,
      given: mergeGiven(given, situation),
      expected: { decision: expect, policies: deciding, code, charges },
    })),
  };
}

/** @param names files in the folder of `file`, or below it or beside it */
function loadNamed(file: string, names: readonly string[]): PolicySet {
  return loadPolicySet(
    names.map((name) => {
      const path = join(dirname(file), name);
      try {
        return { name: basename(name), text: readFileSync(path, 'utf8') };
      } catch (cause) {
        throw invalid(`${file}: the policy file ${path} can not be read`, cause);
      }
    }),
  );
}

function invalid(fault: string, cause?: unknown): KeydError {
  return new KeydError('configuration_invalid', fault, { cause, faults: [fault] });
}
