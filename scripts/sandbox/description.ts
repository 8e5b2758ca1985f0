/** `sandbox.json`: what a person, a demo or an outside test needs to use a running sandbox. */
import { readFile, rename, writeFile } from 'node:fs/promises';

export interface SandboxDescription {
  /** True once everything is up and the host is enrolled. */
  readonly ready: boolean;
  readonly socket: string;
  readonly adminSocket: string;
  readonly issuerUrl: string;
  /** The issuer's identifier: `iss` of what it issues. */
  readonly issuer: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
  /** CA of the issuer's TLS certificate, PEM file. */
  readonly issuerCaFile: string;
  readonly tcti: string;
  readonly pkcs11Module: string;
  readonly softhsm2Conf: string;
  readonly tokenLabel: string;
  /** File with the user PIN of the test token. */
  readonly pinFile: string;
  readonly pids: Readonly<Record<string, number>>;
  /** Lines for a shell. */
  readonly env: readonly string[];
}

/** Written to a new file and renamed, so that a reader never sees half of it. */
export async function writeDescription(file: string, description: SandboxDescription): Promise<void> {
  await writeFile(`${file}.new`, `${JSON.stringify(description, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

export async function readDescription(file: string): Promise<SandboxDescription> {
  return JSON.parse(await readFile(file, 'utf8')) as SandboxDescription;
}
