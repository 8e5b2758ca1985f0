import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  closePidfd,
  isPidfdAlive,
  readPeer,
  readPeerCredentials,
  socketFd,
} from '../../src/caller/peer-credentials.ts';
import { codeOf } from '../support/code-of.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const IS_ROOT = process.getuid?.() === 0;

// Connects and stays until its standard input ends.
const STAY = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>;`;
// Connects, leaves the socket to a child of its own, and exits.
const LEAVE = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>;
  if (fork() == 0) { print $s "from the child"; $s->flush; sleep 20; } exit 0;`;

describe('peer credentials', () => {
  let temp: TempDir;
  let path: string;
  let server: Server;
  let peers: ChildProcess[];

  beforeEach(async () => {
    temp = await makeTempDir();
    await chmod(temp.path, 0o755);
    path = join(temp.path, 'socket');
    peers = [];
    server = createServer().listen(path);
    await once(server, 'listening');
    await chmod(path, 0o777);
  });
  afterEach(async () => {
    for (const peer of peers) peer.kill('SIGKILL');
    server.close();
    await temp.remove();
  });

  async function accept(): Promise<Socket> {
    return ((await once(server, 'connection')) as [Socket])[0];
  }

  async function connectPeer(
    script: string,
    ...wrapper: string[]
  ): Promise<{ peer: ChildProcess; socket: Socket }> {
    const accepted = accept();
    const args = [...wrapper, 'perl', '-e', script, path];
    const peer = spawn('env', args, { stdio: ['pipe', 'inherit', 'inherit'] });
    peers.push(peer);
    return { peer, socket: await accepted };
  }

  it('names uid, gid, groups and process of the peer', async () => {
    const { peer, socket } = await connectPeer(STAY);
    const found = readPeerCredentials(socket);
    expect(found).toMatchObject({ uid: process.getuid?.(), gid: process.getgid?.(), pid: peer.pid });
    const groups = /^Groups:(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]?.trim() ?? '';
    expect([...found.groups].sort()).toEqual(groups.split(' ').filter(Boolean).map(Number).sort());
    found.pidfd?.close();
    socket.destroy();
  });

  it.skipIf(!IS_ROOT)('names another user with many groups', async () => {
    const groups = Array.from({ length: 300 }, (_, index) => 20_000 + index);
    const become = ['setpriv', '--reuid', '65533', '--regid', '65532', '--groups', groups.join(',')];
    const { socket } = await connectPeer(STAY, ...become);
    const found = readPeerCredentials(socket);
    expect(found).toMatchObject({ uid: 65533, gid: 65532 });
    expect([...found.groups].sort()).toEqual(groups);
    found.pidfd?.close();
    socket.destroy();
  });

  it('sees by the pidfd that the peer has exited, also when its pid could be another’s', async () => {
    const { peer, socket } = await connectPeer(STAY);
    const { pidfd } = readPeerCredentials(socket);
    expect(pidfd, 'this kernel has no SO_PEERPIDFD').toBeDefined();
    expect(pidfd?.isAlive()).toBe(true);
    peer.stdin?.end();
    await once(peer, 'exit');
    expect(pidfd?.isAlive()).toBe(false);
    pidfd?.close();
    expect(pidfd?.isAlive()).toBe(false);
    expect(pidfd?.fd).toBeUndefined();
    pidfd?.close();
    socket.destroy();
  });

  it('S10: a child that writes on an inherited connection does not keep its parent’s identity alive', async () => {
    const { peer, socket } = await connectPeer(LEAVE);
    const { pidfd, pid } = readPeerCredentials(socket);
    expect(pidfd?.isAlive()).toBe(true);
    const data = once(socket, 'data');
    peer.stdin?.end();
    await once(peer, 'exit');
    expect(String((await data)[0])).toBe('from the child');
    expect(pidfd?.isAlive()).toBe(false);
    // The kernel still names the process that connected, and gives no pidfd for one that is gone.
    const later = readPeer(socketFd(socket));
    expect(later.pid).toBe(pid);
    if (later.pidfd !== undefined) {
      expect(isPidfdAlive(later.pidfd)).toBe(false);
      closePidfd(later.pidfd);
    }
    pidfd?.close();
    socket.destroy();
  });

  it('gives one descriptor per call and leaves none behind', async () => {
    const { socket } = await connectPeer(STAY);
    const open = (): number => readdirSync('/proc/self/fd').length;
    const before = open();
    for (let i = 0; i < 50; i += 1) readPeerCredentials(socket).pidfd?.close();
    expect(open()).toBe(before);
    socket.destroy();
  });

  it('identifies nobody on what is no connected Unix socket', async () => {
    const closed = createConnection(path);
    await accept();
    closed.destroy();
    expect(codeOf(() => socketFd(closed))).toBe('caller_unknown');
    expect(codeOf(() => readPeerCredentials(closed))).toBe('caller_unknown');

    const tcp = createServer().listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const address = tcp.address();
    const client = createConnection(
      typeof address === 'object' && address !== null ? address.port : 0,
      '127.0.0.1',
    );
    await once(client, 'connect');
    expect(codeOf(() => readPeerCredentials(client))).toBe('caller_unknown');
    client.destroy();
    tcp.close();

    for (const fd of [-1, 1.5, Number.NaN, 2 ** 31, 1_000_000, 'x' as unknown as number]) {
      expect(codeOf(() => readPeer(fd))).toBe('caller_unknown');
    }
  });
});
