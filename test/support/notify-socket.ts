/** A service manager's notify socket (sd_notify(3)): a Unix datagram socket, which Node itself has not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { makeTempDir } from './temp-dir.ts';

export interface NotifySocket {
  /** Value for NOTIFY_SOCKET. */
  readonly address: string;
  /** Datagrams so far, each as its assignments. */
  readonly messages: readonly (readonly string[])[];
  close(): Promise<void>;
}

// One line per datagram, hex, so that line ends within a datagram stay what they are. Credentials are asked
// for as systemd does it, which refuses datagrams from a process it does not know.
const RECEIVER = `
use strict; use Socket;
my $address = $ARGV[0]; $address =~ s/^@/\\0/;
socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
bind($socket, pack_sockaddr_un($address)) or die "bind: $!";
setsockopt($socket, SOL_SOCKET, 16, pack('i', 1)) or die "SO_PASSCRED: $!";
$| = 1; print "bound\\n";
while (defined recv($socket, my $datagram, 65536, 0)) { print unpack('H*', $datagram), "\\n"; }
`;

/** @param abstract in the abstract namespace, whose names begin with "@" */
export async function openNotifySocket({ abstract = false } = {}): Promise<NotifySocket> {
  const temp = await makeTempDir();
  const address = abstract ? `@agentkeyd-test-${process.pid}-${temp.path}` : join(temp.path, 'n');
  const receiver = spawn('perl', ['-e', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const messages: string[][] = [];
  let rest = '';
  const bound = Promise.withResolvers<undefined>();
  receiver.once('exit', () => {
    bound.reject(new Error('the notify socket could not be made'));
  });
  receiver.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === 'bound') bound.resolve(undefined);
      else messages.push(Buffer.from(line, 'hex').toString().split('\n'));
    }
  });
  await bound.promise;
  return {
    address,
    messages,
    async close() {
      const gone = once(receiver, 'exit');
      receiver.kill('SIGKILL');
      await gone;
      await temp.remove();
    },
  };
}
