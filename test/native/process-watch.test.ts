/** The native half of S10: each fact of a process is asked for anew, and whatever can not be had does not hold. */
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPeer, socketFd, watchProcess, type ProcessWatch } from '../../src/caller/peer-credentials.ts';
import { STAY, startPeerServer, type PeerServer } from '../support/peer-server.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

// Connects, and becomes another program when its standard input has a line.
const BECOME = `use IO::Socket::UNIX; use Fcntl; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die;
  fcntl($s, F_SETFD, 0); <STDIN>; exec 'sleep', '20';`;
// Connects, leaves the socket to a child of its own, and exits.
const LEAVE = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>;
  if (fork() == 0) { print $s "from the child"; $s->flush; sleep 20; } exit 0;`;

let server: PeerServer;
let temp: TempDir;
const watches: ProcessWatch[] = [];

beforeEach(async () => {
  server = await startPeerServer();
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const watch of watches.splice(0)) watch.close();
  await server.stop();
  await temp.remove();
});

function watching(pidfd: number | undefined, folder: string): ProcessWatch {
  const watch = watchProcess(pidfd, folder);
  watches.push(watch);
  return watch;
}

function watchPeer(socket: Socket): ProcessWatch {
  const { pid, pidfd } = readPeer(socketFd(socket));
  expect(pidfd, 'this kernel has no SO_PEERPIDFD').toBeDefined();
  return watching(pidfd, `/proc/${pid}`);
}

async function until(changed: () => string | undefined): Promise<string | undefined> {
  for (let i = 0; i < 500 && changed() === undefined; i += 1) await delay(10);
  return changed();
}

/** A hierarchy of this machine in which we may make a cgroup. */
function makeCgroup(): string | undefined {
  const root = '/sys/fs/cgroup';
  for (const hierarchy of ['.', 'unified', 'pids']) {
    const path = join(root, hierarchy, `akd-test-${process.pid}`);
    try {
      mkdirSync(path);
      statSync(join(path, 'cgroup.procs'));
      return path;
    } catch {
      // Read-only, not ours, or a tmpfs that only holds the hierarchies.
      try {
        rmdirSync(path);
      } catch {
        // It was not made.
      }
    }
  }
  return undefined;
}
const cgroup = makeCgroup();
if (cgroup !== undefined) rmdirSync(cgroup);

describe('of a real process', () => {
  it('nothing changes as long as nothing does, however often it is asked', async () => {
    const { socket } = await server.connect(STAY);
    const watch = watchPeer(socket);
    for (let i = 0; i < 100; i += 1) expect(watch.changed()).toBeUndefined();
  });

  it('S10: an exit is noticed by the pidfd, also when the pid could be another’s', async () => {
    const { peer, socket } = await server.connect(STAY);
    const { pidfd } = readPeer(socketFd(socket));
    // Everything but the pidfd is that of a process that stays.
    const watch = watching(pidfd, '/proc/self');
    expect(watch.changed()).toBeUndefined();
    peer.stdin?.end();
    await once(peer, 'exit');
    expect(watch.changed()).toBe('process');
  });

  it('S10: a child that writes on an inherited connection does not keep its parent’s identity alive', async () => {
    const { peer, socket } = await server.connect(LEAVE);
    const watch = watchPeer(socket);
    expect(watch.changed()).toBeUndefined();
    const data = once(socket, 'data');
    peer.stdin?.end();
    await once(peer, 'exit');
    expect(String((await data)[0])).toBe('from the child');
    expect(watch.changed()).toBe('process');
    // The kernel still names the process that connected, which is no more.
    const later = readPeer(socketFd(socket));
    expect(later.pid).toBe(peer.pid);
    if (later.pidfd !== undefined) expect(watching(later.pidfd, '/proc/self').changed()).toBe('process');
  });

  it('S10: an exec is noticed', async () => {
    const { peer, socket } = await server.connect(BECOME);
    const watch = watchPeer(socket);
    const before = watch.executable;
    expect(watch.changed()).toBeUndefined();
    peer.stdin?.write('\n');
    expect(await until(() => watch.changed())).toBe('executable');
    expect(watch.executable).toEqual(before);
  });

  it.skipIf(cgroup === undefined)('S10: a move to another cgroup is noticed', async () => {
    const folder = makeCgroup() ?? '';
    const { peer, socket } = await server.connect(STAY);
    const watch = watchPeer(socket);
    expect(watch.changed()).toBeUndefined();
    writeFileSync(join(folder, 'cgroup.procs'), String(peer.pid));
    expect(watch.changed()).toBe('cgroup');
    peer.kill('SIGKILL');
    await once(peer, 'exit');
    rmdirSync(folder);
  });

  it('says what fs says of the executable', () => {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync('/proc/self/exe', { bigint: true });
    expect(watching(undefined, '/proc/self').executable).toEqual({ dev, ino, size, mtimeNs, ctimeNs });
  });
});

describe('of a procfs of the test’s making', () => {
  const at = (name: string): string => join(temp.path, name);
  const putCgroup = (text: string): void => {
    writeFileSync(at('cgroup'), text, 'latin1');
  };
  const putExecutable = (target: string): void => {
    symlinkSync(target, at('exe'));
  };

  it.each([
    ['one octet, the last', '0::/system.slice/a.service\n', '0::/system.slice/a.servicf\n'],
    ['longer', '0::/a\n', '0::/a\n1::/b\n'],
    ['shorter', '0::/a\n1::/b\n', '0::/a\n'],
    ['none left', '0::/a\n', ''],
    ['one octet far behind', `0::/${'a'.repeat(20_000)}b\n`, `0::/${'a'.repeat(20_000)}c\n`],
    ['longer than a reading', `0::/${'a'.repeat(4_091)}`, `0::/${'a'.repeat(4_092)}`],
  ])('S10: another cgroup text is noticed: %s', (_what, before, after) => {
    putCgroup(before);
    const watch = watching(undefined, temp.path);
    expect(watch.cgroup).toBe(before);
    expect(watch.changed()).toBeUndefined();
    putCgroup(after);
    expect(watch.changed()).toBe('cgroup');
    expect(watch.cgroup).toBe(before);
  });

  it('S10: the octets of a cgroup’s name stay what they are', () => {
    putCgroup('0::/\xff\xe9\n');
    expect(watching(undefined, temp.path).cgroup).toBe('0::/\xff\xe9\n');
  });

  it.each([
    [
      'another file',
      () => {
        unlinkSync(at('exe'));
        putExecutable('/bin/sh');
      },
    ],
    [
      'one that may not be read any more',
      () => {
        unlinkSync(at('exe'));
      },
    ],
    [
      'other content',
      () => {
        writeFileSync(at('program'), 'other');
      },
    ],
  ])('S10: another executable is noticed: %s', (_what, change) => {
    putCgroup('');
    writeFileSync(at('program'), 'one');
    putExecutable(at('program'));
    const watch = watching(undefined, temp.path);
    expect(watch.changed()).toBeUndefined();
    change();
    expect(watch.changed()).toBe('executable');
  });

  it('S10: an executable that can be read only now is another', () => {
    putCgroup('');
    const watch = watching(undefined, temp.path);
    expect(watch.executable).toBeUndefined();
    expect(watch.changed()).toBeUndefined();
    putExecutable('/bin/sh');
    expect(watch.changed()).toBe('executable');
  });

  it.each([0, 1_000, -1_500])('times are exact: %d ms', async (milliseconds) => {
    putCgroup('');
    writeFileSync(at('program'), '');
    await utimes(at('program'), new Date(milliseconds), new Date(milliseconds));
    putExecutable(at('program'));
    const { mtimeNs } = statSync(at('program'), { bigint: true });
    expect(mtimeNs).toBe(BigInt(milliseconds) * 1_000_000n);
    expect(watching(undefined, temp.path).executable?.mtimeNs).toBe(mtimeNs);
  });
});

describe('the descriptors', () => {
  const open = (): number => readdirSync('/proc/self/fd').length;
  const thrownBy = (act: () => unknown): unknown => {
    try {
      return act();
    } catch (thrown) {
      return thrown;
    }
  };

  it('are closed with the watch, once, and what is closed is not known to be anything', async () => {
    const { socket } = await server.connect(STAY);
    const before = open();
    for (let i = 0; i < 50; i += 1) {
      const watch = watchPeer(socket);
      expect(open()).toBe(before + 2);
      watch.close();
      watch.close();
      expect(watch.changed()).toBe('process');
      expect(watch.executable).toBeUndefined();
    }
    expect(open()).toBe(before);
  });

  it('are closed where there can be no watch', async () => {
    const { socket } = await server.connect(STAY);
    const before = open();
    const { pidfd } = readPeer(socketFd(socket));
    expect(thrownBy(() => watchProcess(pidfd, '/proc/0'))).toMatchObject({ code: 'ENOENT', syscall: 'open' });
    expect(open()).toBe(before);
  });

  it('are descriptors', () => {
    for (const fd of [-1, 1.5, 2 ** 31, 'x' as unknown as number]) {
      expect(thrownBy(() => watchProcess(fd, '/proc/self'))).toBeInstanceOf(TypeError);
    }
    expect(thrownBy(() => watchProcess(undefined, 7 as unknown as string))).toBeInstanceOf(TypeError);
    // No pidfd at all: nobody lives.
    expect(watching(1_000_000, '/proc/self').changed()).toBe('process');
  });
});
