/** Files that `agentkey audit` reads: keys, checkpoints, proofs, exports, and a log's own directory. */
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scanJournal } from '../base/journal-reader.ts';
import { AuditLogVerifier, type AuditReport, type AuditTrust } from '../verify/index.ts';
import { AUDIT_CHECKPOINT_FILE, AUDIT_JOURNAL, parseCheckpointFile } from '../wire/audit-export.ts';
import { parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';

const LIMITS = { maxDepth: 8, maxOctets: 256 * 1024 } as const;

/** @throws KeydError `malformed_request` naming the file */
export function readJson(file: string): unknown {
  return reading(file, () => parseStrictJson(readFileSync(file), LIMITS));
}

/** A public JWK, alone or as the `publicJwk` of what `audit prove` prints. @throws KeydError `malformed_request` */
export function readKey(file: string): PublicJwk {
  const value = readJson(file);
  return reading(file, () => parsePublicJwk(member(value, 'publicJwk') ?? value));
}

/** A signed note, alone or as the `checkpoint` of what `audit prove` prints. @throws KeydError `malformed_request` */
export function readCheckpoint(file: string): string {
  const octets = reading(file, () => readFileSync(file));
  if (octets[0] !== 0x7b) return octets.toString('utf8');
  const note = member(readJson(file), 'checkpoint');
  if (typeof note === 'string') return note;
  throw new KeydError('malformed_request', `${file} holds no checkpoint`);
}

/** The octets of a file, or of standard input for `-`. */
export function chunksOf(file: string): AsyncIterable<Uint8Array> {
  return file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 1024 * 1024 });
}

/**
 * Verifies the log in a directory that no daemon writes to, `audit` of a state directory or a copy of it, and
 * changes nothing there.
 * @throws KeydError `malformed_request` where there is none
 */
export function verifyDirectory(
  directory: string,
  trust: AuditTrust,
  onProgress: (entries: number) => void,
): AuditReport {
  const folder = existsSync(join(directory, AUDIT_JOURNAL, 'origin'))
    ? join(directory, AUDIT_JOURNAL)
    : directory;
  const checkpoint = join(folder, AUDIT_CHECKPOINT_FILE);
  const own = existsSync(checkpoint)
    ? reading(checkpoint, () => parseCheckpointFile(readFileSync(checkpoint)).note)
    : undefined;
  const verifier = new AuditLogVerifier({ ...trust, ...(own === undefined ? {} : { own }) });
  const { tails } = reading(folder, () =>
    scanJournal(folder, AUDIT_JOURNAL, (record, isIntact) => {
      if (!isIntact) verifier.tellDamage(`the checksum of entry ${verifier.size} is not its own`);
      verifier.add(record);
      onProgress(verifier.size);
    }),
  );
  for (const { file, octets, isLast } of tails) {
    if (isLast) verifier.tellTorn(`${file} ends with ${octets} octets of an unfinished entry`);
    else verifier.tellDamage(`${file} is damaged ${octets} octets before its end`);
  }
  return verifier.end();
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function reading<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    const { message } = asKeydError(thrown);
    throw new KeydError('malformed_request', `can not read ${file}: ${message}`, { cause: thrown });
  }
}
