/** Processes that connect to a Unix socket of the test's, for what the kernel says of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { makeTempDir } from './temp-dir.ts';

/** Connects and stays until its standard input ends. */
export const STAY = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>;`;

export interface PeerServer {
  readonly path: string;
  /** The next connection. */
  accept(): Promise<Socket>;
  /** Runs a Perl script, which connects to its first argument; `wrapper` are a command before it. */
  connect(script: string, ...wrapper: string[]): Promise<{ peer: ChildProcess; socket: Socket }>;
  stop(): Promise<void>;
}

export async function startPeerServer(): Promise<PeerServer> {
  const temp = await makeTempDir();
  await chmod(temp.path, 0o755);
  const path = join(temp.path, 'socket');
  const server = createServer().listen(path);
  await once(server, 'listening');
  await chmod(path, 0o777);
  const peers: ChildProcess[] = [];
  const sockets: Socket[] = [];
  const accept = async (): Promise<Socket> => {
    const [socket] = (await once(server, 'connection')) as [Socket];
    sockets.push(socket);
    return socket;
  };
  return {
    path,
    accept,
    async connect(script, ...wrapper) {
      const accepted = accept();
      const args = [...wrapper, 'perl', '-e', script, path];
      const peer = spawn('env', args, { stdio: ['pipe', 'inherit', 'inherit'] });
      peers.push(peer);
      return { peer, socket: await accepted };
    },
    async stop() {
      for (const peer of peers) peer.kill('SIGKILL');
      for (const socket of sockets) socket.destroy();
      server.close();
      await temp.remove();
    },
  };
}
