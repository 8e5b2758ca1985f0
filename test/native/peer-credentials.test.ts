import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPeer, socketFd, watchProcess, type KernelPeer } from '../../src/caller/peer-credentials.ts';
import { codeOf } from '../support/code-of.ts';
import { STAY, startPeerServer, type PeerServer } from '../support/peer-server.ts';

const IS_ROOT = process.getuid?.() === 0;

let server: PeerServer;

beforeEach(async () => {
  server = await startPeerServer();
});
afterEach(() => server.stop());

/** What the kernel says of a peer; its pidfd is closed at once. */
function peerOf(socket: Socket): KernelPeer {
  const peer = readPeer(socketFd(socket));
  watchProcess(peer.pidfd, '/proc/self').close();
  return peer;
}

describe('peer credentials', () => {
  it('names uid, gid, groups and process of the peer', async () => {
    const { peer, socket } = await server.connect(STAY);
    const found = peerOf(socket);
    expect(found).toMatchObject({ uid: process.getuid?.(), gid: process.getgid?.(), pid: peer.pid });
    expect(found.pidfd, 'this kernel has no SO_PEERPIDFD').toBeDefined();
    const groups = /^Groups:(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]?.trim() ?? '';
    expect([...found.groups].sort()).toEqual(groups.split(' ').filter(Boolean).map(Number).sort());
  });

  it.skipIf(!IS_ROOT)('names another user with many groups', async () => {
    const groups = Array.from({ length: 300 }, (_, index) => 20_000 + index);
    const become = ['setpriv', '--reuid', '65533', '--regid', '65532', '--groups', groups.join(',')];
    const { socket } = await server.connect(STAY, ...become);
    const found = peerOf(socket);
    expect(found).toMatchObject({ uid: 65533, gid: 65532 });
    expect([...found.groups].sort()).toEqual(groups);
  });

  it('identifies nobody on what is no connected Unix socket', async () => {
    const accepted = server.accept();
    const closed = createConnection(server.path);
    await accepted;
    closed.destroy();
    expect(codeOf(() => socketFd(closed))).toBe('caller_unknown');

    const tcp = createServer().listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const address = tcp.address();
    const client = createConnection(
      typeof address === 'object' && address !== null ? address.port : 0,
      '127.0.0.1',
    );
    await once(client, 'connect');
    expect(codeOf(() => readPeer(socketFd(client)))).toBe('caller_unknown');
    client.destroy();
    tcp.close();

    for (const fd of [-1, 1.5, Number.NaN, 2 ** 31, 1_000_000, 'x' as unknown as number]) {
      expect(codeOf(() => readPeer(fd))).toBe('caller_unknown');
    }
  });
});
