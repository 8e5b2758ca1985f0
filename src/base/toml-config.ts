/** Configuration files: TOML, unknown keys are errors, all faults at once. */
import { readFileSync, statSync } from 'node:fs';
import { parse as parseToml, TomlError } from 'smol-toml';
import type { Shape } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';

const MAX_FILE_OCTETS = 1024 * 1024;

/**
 * Reads `path` and checks it by `shape`.
 * @throws KeydError `configuration_invalid` with every fault in `faults`, each naming the file
 */
export function readTomlConfig<T>(path: string, shape: Shape<T>): T {
  let text: string;
  try {
    if (statSync(path).size > MAX_FILE_OCTETS)
      throw invalid(path, [`is larger than ${MAX_FILE_OCTETS} octets`]);
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (thrown) {
    if (thrown instanceof KeydError) throw thrown;
    throw invalid(path, [thrown instanceof Error ? thrown.message : String(thrown)], thrown);
  }
  return parseTomlConfig(text, path, shape);
}

/**
 * Checks TOML `text`; `fileName` only names it in faults.
 * @throws KeydError `configuration_invalid`
 */
export function parseTomlConfig<T>(text: string, fileName: string, shape: Shape<T>): T {
  let document: unknown;
  try {
    document = parseToml(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    const reason = thrown.message.split('\n', 1)[0] ?? 'is not TOML';
    throw invalid(fileName, [`line ${thrown.line}, column ${thrown.column}: ${reason}`], thrown);
  }
  const faults: string[] = [];
  const config = shape(document, '', faults);
  if (faults.length > 0) throw invalid(fileName, faults);
  return config;
}

function invalid(fileName: string, faults: readonly string[], cause?: unknown): KeydError {
  const named = faults.map((fault) => `${fileName}: ${fault}`);
  return new KeydError('configuration_invalid', named.join('\n'), { faults: named, cause });
}
