/** `roots import`: certificates of TPM vendors, kept where the project ships their fingerprint (DECISIONS 5). */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { KeydError } from '../../wire/problem.ts';
import type { IssuerConfig } from '../config.ts';
import { certificatePem } from '../credentials/x509-certificate.ts';
import { importRoots } from '../verifier/endorsement-roots.ts';
import type { Output } from './output.ts';

/**
 * Writes the pinned certificates of the bundle to `appraisal.roots_file`, in place of what is there.
 * @throws KeydError `configuration_invalid`
 */
export function importEndorsementRoots(config: IssuerConfig, bundle: string, output: Output): void {
  const file = config.appraisal.roots_file;
  if (file === undefined) {
    throw new KeydError(
      'configuration_invalid',
      'appraisal.roots_file is not set: there is nowhere to keep them',
    );
  }
  let text: string;
  try {
    text = readFileSync(bundle, 'utf8');
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${bundle} can not be read`, { cause });
  }
  const { roots, refused } = importRoots(text);
  for (const { vendor, name, sha256 } of roots) output.line(`kept     ${sha256}  ${vendor}: ${name}`);
  for (const sha256 of refused) output.line(`refused  ${sha256}  no pinned fingerprint`);
  if (roots.length === 0) {
    throw new KeydError(
      'configuration_invalid',
      'no certificate of the bundle is pinned; nothing was written',
    );
  }
  const temporary = `${file}.new`;
  writeFileSync(temporary, roots.map(({ certificate }) => certificatePem(certificate.encoded)).join(''), {
    mode: 0o644,
    flush: true,
  });
  renameSync(temporary, file);
  output.line(`${roots.length} roots in ${file}; a running issuer takes them with SIGHUP`);
}
