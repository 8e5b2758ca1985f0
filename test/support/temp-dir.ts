import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir {
  readonly path: string;
  remove(): Promise<void>;
}

/** A new private folder with a short path, so that Unix sockets below it fit into sun_path. */
export async function makeTempDir(): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), 'akd-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
