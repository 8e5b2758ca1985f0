/** A private CA and a server certificate for localhost, made by openssl. For sandbox and tests only. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TOOL_TIMEOUT_MS = 30_000;

export interface SandboxTls {
  /** CA certificate, PEM: what clients trust. */
  readonly caFile: string;
  /** Server certificate, PEM. */
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** Makes CA and server certificate (localhost, 127.0.0.1, ::1; P-256; 30 days) in `dir`. */
export async function makeTls(dir: string): Promise<SandboxTls> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const file = (name: string): string => join(dir, name);
  const openssl = (...args: readonly string[]) =>
    run('openssl', [...args], { timeout: TOOL_TIMEOUT_MS, cwd: dir });
  await writeFile(
    file('server.ext'),
    [
      'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1',
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=serverAuth',
      '',
    ].join('\n'),
  );
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;
  await openssl(
    ...['req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '30'],
    ...['-subj', '/CN=agentkeyd sandbox TLS CA', '-addext', 'keyUsage=critical,keyCertSign'],
  );
  await openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
  await openssl(
    ...['x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
    ...['-out', 'server.pem', '-days', '30', '-extfile', 'server.ext'],
  );
  await Promise.all([chmod(file('server.key'), 0o600), chmod(file('ca.key'), 0o600)]);
  return { caFile: file('ca.pem'), certificateFile: file('server.pem'), keyFile: file('server.key') };
}
