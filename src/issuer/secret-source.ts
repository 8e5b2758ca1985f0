/** Secrets by file or by systemd credential (systemd.exec(5), LoadCredential=). */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { KeydError } from '../wire/problem.ts';
import type { SecretSource } from './config.ts';

const MAX_OCTETS = 64 * 1024;

/**
 * The secret's text; one line end at the end is no part of it.
 * @throws KeydError `configuration_invalid` where it can not be read or others may read it
 */
export function readSecret(source: SecretSource, what: string): string {
  const file = source.file ?? credentialFile(source.credential ?? '', what);
  try {
    const { mode, size } = statSync(file);
    if ((mode & 0o077) !== 0 && source.credential === undefined) {
      throw invalid(`${what}: ${file} can be read by others; chmod it to 0600`);
    }
    if (size > MAX_OCTETS) throw invalid(`${what}: ${file} is larger than ${MAX_OCTETS} octets`);
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (thrown) {
    if (thrown instanceof KeydError) throw thrown;
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new KeydError('configuration_invalid', `${what}: ${reason}`, { cause: thrown });
  }
}

function credentialFile(name: string, what: string): string {
  const directory = process.env['CREDENTIALS_DIRECTORY'];
  if (directory === undefined || directory === '') {
    throw invalid(
      `${what} is the credential ${name}, but systemd gave none (CREDENTIALS_DIRECTORY is not set)`,
    );
  }
  return join(directory, name);
}

function invalid(message: string): KeydError {
  return new KeydError('configuration_invalid', message);
}
