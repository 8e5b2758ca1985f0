/** The files of a journal: names, opening, durable writing, cutting. */
import { constants, fsync, open as openFile, openSync, readdirSync, write } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

const MODE = 0o600;
const INDEX_DIGITS = 16;

export interface SegmentFile {
  readonly file: string;
  readonly first: number;
}

/** Segments of a journal in order. */
export function listSegments(directory: string, name: string): readonly SegmentFile[] {
  const pattern = new RegExp(`^${name}-(\\d{${INDEX_DIGITS}})\\.log$`);
  return readdirSync(directory)
    .flatMap((file) => {
      const match = pattern.exec(file);
      return match === null ? [] : [{ file, first: Number(match[1]) }];
    })
    .sort((left, right) => left.first - right.first);
}

/** `<name>-<index of the first record, 16 digits>.log`. */
export function segmentName(name: string, first: number): string {
  return `${name}-${String(first).padStart(INDEX_DIGITS, '0')}.log`;
}

/**
 * Opens or makes it; a new name is durable only once its directory is. With O_DSYNC a write returns when its octets
 * and what is needed to find them are on disk: one call to the system where write and fdatasync would be two.
 */
export async function openSegment(directory: string, file: string): Promise<number> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC;
  const fd = openSync(join(directory, file), flags, MODE);
  await syncDirectory(directory);
  return fd;
}

/** A descriptor of its own, for a segment that is there; writes to it are as durable. */
export function openToLengthen(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    openFile(path, constants.O_WRONLY | constants.O_DSYNC, (error, fd) => {
      if (error === null) resolve(fd);
      else reject(error);
    });
  });
}

/** write(2) at an offset, on a thread of the pool; how many octets it took. */
export function writeDurably(fd: number, octets: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, octets, 0, octets.length, position, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

/** fsync(2), on a thread of the pool. */
export function syncFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Names made and removed in it are durable after this. */
export async function syncDirectory(directory: string): Promise<void> {
  const folder = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Shortens a file, durably. */
export async function cutFile(path: string, size: number): Promise<void> {
  const handle = await open(path, constants.O_RDWR);
  try {
    await handle.truncate(size);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
