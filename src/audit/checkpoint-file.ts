/**
 * The newest checkpoint, beside the log. It is written once its entry is durable, so a log that does not hold it
 * was cut or changed by something other than a crash.
 */
import { existsSync, readFileSync } from 'node:fs';
import { open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { object, parse, text } from '../wire/check.ts';
import { parseCheckpoint, type TreeHead } from '../wire/checkpoint.ts';
import { parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';

export interface Checkpoint {
  readonly head: TreeHead;
  /** Signed note (C2SP tlog-checkpoint). */
  readonly note: string;
  readonly publicJwk: PublicJwk;
}

export const CHECKPOINT_FILE = 'checkpoint';
const LIMITS = { maxDepth: 3, maxOctets: 16_384 } as const;
const shape = object({
  note: text({ maxLength: 2048 }),
  publicJwk: (value: unknown) => value,
});

/** Replaces it atomically; durable when it resolves. */
export async function writeCheckpointFile(directory: string, { note, publicJwk }: Checkpoint): Promise<void> {
  const file = join(directory, CHECKPOINT_FILE);
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
  const file = join(directory, CHECKPOINT_FILE);
  if (!existsSync(file)) return undefined;
  try {
    const { note, publicJwk } = parse(shape, parseStrictJson(readFileSync(file), LIMITS));
    const { origin, size, root } = parseCheckpoint(note);
    return { head: { origin, size, root }, note, publicJwk: parsePublicJwk(publicJwk) };
  } catch (cause) {
    throw new KeydError('audit_unavailable', `${file} can not be read`, { cause });
  }
}
