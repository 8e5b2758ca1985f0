/** The policy set as files: `*.cedar` of one directory, read as a whole or not at all. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeydError } from '../wire/problem.ts';
import { loadPolicySet } from './cedar/load-policy-set.ts';
import { withObserved } from './cedar/observed.ts';
import type { PolicyFile, PolicySet } from './cedar/policy-set.ts';
import type { PolicyEngine } from './verdict.ts';

const MAX_FILES = 1024;
const MAX_FILE_OCTETS = 1024 * 1024;
const GROUP_AND_OTHERS_WRITE = 0o022;

/** The set that counts where none is configured: owners use their agents. */
export const SHIPPED_POLICIES = join(import.meta.dirname, '..', '..', 'policies');
const SHIPPED_FILES = ['owner.cedar'] as const;

export interface LoadedPolicies {
  readonly set: PolicySet;
  /** The set, with candidates judged beside it. */
  readonly engine: PolicyEngine;
  readonly files: readonly string[];
  readonly observed: readonly string[];
}

/**
 * @param directory undefined for the shipped set
 * @param observeDirectory one folder for each candidate set
 * @throws KeydError `configuration_invalid` with every fault of the set in force, or of the first faulty candidate
 */
export function loadPolicies(
  directory: string | undefined,
  observeDirectory: string | undefined,
): LoadedPolicies {
  const files = directory === undefined ? shippedFiles() : readPolicyFiles(directory);
  const set = loadPolicySet(files);
  const candidates = observeDirectory === undefined ? [] : readCandidates(observeDirectory);
  return {
    set,
    engine: candidates.length === 0 ? set : withObserved(set, candidates),
    files: files.map(({ name }) => name),
    observed: candidates.map(({ name }) => name),
  };
}

/**
 * Policy files of a directory, by name. Only regular files that nobody but their owner may write.
 * @throws KeydError `configuration_invalid`
 */
export function readPolicyFiles(directory: string): readonly PolicyFile[] {
  const faults: string[] = [];
  const names = listDirectory(directory)
    .filter((name) => name.endsWith('.cedar'))
    .toSorted();
  if (names.length > MAX_FILES) faults.push(`${directory} has more than ${MAX_FILES} policy files`);
  const files = names.slice(0, MAX_FILES).flatMap((name): PolicyFile[] => {
    const path = join(directory, name);
    const stat = lstatSync(path);
    if (!stat.isFile()) faults.push(`${path} is no regular file`);
    else if ((stat.mode & GROUP_AND_OTHERS_WRITE) !== 0)
      faults.push(`${path} may be written by others than its owner; chmod go-w it`);
    else if (stat.size > MAX_FILE_OCTETS) faults.push(`${path} is larger than ${MAX_FILE_OCTETS} octets`);
    else return [{ name, text: readFileSync(path, 'utf8') }];
    return [];
  });
  if (faults.length > 0) throw new KeydError('configuration_invalid', faults.join('\n'), { faults });
  return files;
}

function shippedFiles(): readonly PolicyFile[] {
  return SHIPPED_FILES.map((name) => ({ name, text: readFileSync(join(SHIPPED_POLICIES, name), 'utf8') }));
}

function readCandidates(
  directory: string,
): readonly { readonly name: string; readonly engine: PolicyEngine }[] {
  return listDirectory(directory)
    .toSorted()
    .filter((name) => lstatSync(join(directory, name)).isDirectory())
    .map((name) => ({ name, engine: loadPolicySet(readPolicyFiles(join(directory, name))) }));
}

function listDirectory(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (cause) {
    const fault = `${directory} can not be read`;
    throw new KeydError('configuration_invalid', fault, { cause, faults: [fault] });
  }
}
