/** Real-world attestation data that is never committed: read where it is, said loudly where it is not. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));

/** Folder of the corpus: `AGENTKEYD_CORPUS`, else beside the project. */
export const CORPUS = resolve(PROJECT, process.env['AGENTKEYD_CORPUS'] ?? '../shared/corpus');

/**
 * Whether `part` of the corpus is here. Where it is not, the tests that need it are skipped with a word on
 * standard error, unless `AGENTKEYD_REQUIRE_CORPUS=1` makes that a failure.
 */
export function hasCorpus(part: string): boolean {
  if (existsSync(join(CORPUS, part))) return true;
  const message = `corpus: ${join(CORPUS, part)} is not here; set AGENTKEYD_CORPUS`;
  if (process.env['AGENTKEYD_REQUIRE_CORPUS'] === '1') throw new Error(message);
  process.stderr.write(`SKIPPED ${message}\n`);
  return false;
}

export function corpusFile(...path: readonly string[]): Uint8Array {
  return new Uint8Array(readFileSync(join(CORPUS, ...path)));
}

export function corpusNames(...path: readonly string[]): readonly string[] {
  return readdirSync(join(CORPUS, ...path)).sort();
}
