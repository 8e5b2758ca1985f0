/** A caller that never pauses, as a user of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

// Each connection asks again as soon as it is answered; a line for every answer, with its status.
const CLOSED_LOOP = `
use strict; use Socket; use IO::Select; $| = 1;
my ($path, $count, $request) = @ARGV; my $all = IO::Select->new; my %got;
for (1..$count) {
  socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, pack_sockaddr_un($path)) or die "connect: $!";
  $all->add($s); $got{$s} = ''; syswrite($s, $request);
}
while (1) { for my $s ($all->can_read) {
  sysread($s, my $more, 65536) or exit; $got{$s} .= $more;
  my $end = index($got{$s}, "\\r\\n\\r\\n"); next if $end < 0;
  my ($length) = $got{$s} =~ /\\r\\ncontent-length: (\\d+)/i; next if length($got{$s}) < $end + 4 + $length;
  print substr($got{$s}, 9, 3), "\\n"; $got{$s} = ''; syswrite($s, $request);
} }`;

export interface BusyCaller {
  /** Status of each answer so far. */
  readonly answers: readonly string[];
  /** Ends it, all its connections at once. */
  kill(): Promise<void>;
}

/** A process of `uid` that keeps `connections` busy with one DPoP proof after the other; only root can start it. */
export function startBusyCaller(
  uid: number,
  socketPath: string,
  agent: string,
  connections: number,
): BusyCaller {
  const body = JSON.stringify({ htm: 'GET', htu: 'https://api.example/read' });
  const request =
    `POST /v1/agents/${agent}/sign/dpop HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n` +
    `content-length: ${body.length}\r\n\r\n${body}`;
  const ids = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  const child = spawn(
    'setpriv',
    [...ids, 'perl', '-e', CLOSED_LOOP, socketPath, String(connections), request],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const answers: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => answers.push(...text.trim().split('\n')));
  return {
    answers,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
