/**
 * The newest checkpoint, beside the log. It is written once its entry is durable, so a log that does not hold it
 * was cut or changed by something other than a crash.
 */
import { existsSync, readFileSync } from 'node:fs';
import { open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AUDIT_CHECKPOINT_FILE, parseCheckpointFile } from '../wire/audit-export.ts';
import { parseCheckpoint, type TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';

export interface Checkpoint {
  readonly head: TreeHead;
  /** Signed note (C2SP tlog-checkpoint). */
  readonly note: string;
  readonly publicJwk: PublicJwk;
}

/** Replaces it atomically; durable when it resolves. */
export async function writeCheckpointFile(directory: string, { note, publicJwk }: Checkpoint): Promise<void> {
  const file = join(directory, AUDIT_CHECKPOINT_FILE);
  await writeFile(`${file}.new`, JSON.stringify({ note, publicJwk }), { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Undefined where none was made yet. @throws KeydError `audit_unavailable` for one that can not be read */
export function readCheckpointFile(directory: string): Checkpoint | undefined {
  const file = join(directory, AUDIT_CHECKPOINT_FILE);
  if (!existsSync(file)) return undefined;
  try {
    const { note, publicJwk } = parseCheckpointFile(readFileSync(file));
    const { origin, size, root } = parseCheckpoint(note);
    return { head: { origin, size, root }, note, publicJwk };
  } catch (cause) {
    throw new KeydError('audit_unavailable', `${file} can not be read`, { cause });
  }
}
