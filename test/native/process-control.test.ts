import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const run = promisify(execFile);
const SERVICE = fileURLToPath(new URL('./programs/service.ts', import.meta.url));
const TIMEOUT_MS = 20_000;

// A notify socket as systemd makes it: prints each datagram in hex.
const RECEIVE = `use Socket; $| = 1; my ($path, $count) = @ARGV; $path =~ s/^@/\\0/;
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, pack_sockaddr_un($path)) or die; print "ready\\n";
  for (1..$count) { my $m; recv($s, $m, 65536, 0); print unpack("H*", $m), "\\n"; }`;

// Socket activation as sd_listen_fds(3) describes it: listening sockets from descriptor 3 on, then exec.
const ACTIVATE = `use Socket; use POSIX; $^F = 100; my ($path, $pid, $names, $kind, @command) = @ARGV;
  socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; bind($s, pack_sockaddr_un($path)) or die;
  listen($s, 5) if $kind eq "listening";
  my $fd = fileno($s); POSIX::dup2($fd, $_) for 3, 4; POSIX::close($fd) if $fd > 4;
  $ENV{LISTEN_PID} = $pid || $$; $ENV{LISTEN_FDS} = $kind eq "count" ? "2x" : 2; $ENV{LISTEN_FDNAMES} = $names;
  exec @command or die;`;

describe('process control', () => {
  let temp: TempDir;
  let children: ChildProcess[];

  beforeEach(async () => {
    temp = await makeTempDir();
    children = [];
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await temp.remove();
  });

  async function service(calls: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<unknown[]> {
    const { stdout } = await run(process.execPath, [SERVICE, ...calls], {
      env: { PATH: process.env['PATH'], ...env },
      timeout: TIMEOUT_MS,
    });
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
  }

  describe.each([
    ['a path', (dir: string): string => join(dir, 'notify')],
    ['an abstract name', (dir: string): string => `@${dir}/notify`],
  ])('notify over %s', (_, addressIn) => {
    it('sends each state as one datagram of exactly these octets', async () => {
      const address = addressIn(temp.path);
      const states = ['READY=1\nSTATUS=größer', 'WATCHDOG=1', 'STOPPING=1'];
      const receiver = spawn('perl', ['-e', RECEIVE, address, String(states.length)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(receiver);
      const lines = createInterface(receiver.stdout)[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe('ready');
      expect(await service(states, { NOTIFY_SOCKET: address })).toEqual([true, true, true]);
      for (const state of states) {
        expect(Buffer.from((await lines.next()).value ?? '', 'hex').toString()).toBe(state);
      }
    });
  });

  it('says so where nobody is to be told, and fails where telling fails', async () => {
    expect(await service(['READY=1'])).toEqual([false]);
    expect(await service(['READY=1'], { NOTIFY_SOCKET: '' })).toEqual([false]);
    for (const address of [join(temp.path, 'none'), 'relative', `/${'x'.repeat(200)}`, '@']) {
      expect(await service(['READY=1'], { NOTIFY_SOCKET: address })).toEqual(['internal']);
    }
  });

  it('takes over listening sockets by name, once, and keeps them from children', async () => {
    const path = join(temp.path, 'socket');
    const command = [
      '-e',
      ACTIVATE,
      path,
      '',
      'shared:admin',
      'listening',
      process.execPath,
      SERVICE,
      'listen',
    ];
    const child = spawn('perl', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const next = async (): Promise<unknown> => JSON.parse((await lines.next()).value ?? 'null');
    expect(await next()).toEqual([
      { fd: 3, name: 'shared' },
      { fd: 4, name: 'admin' },
    ]);
    expect(await next()).toEqual([]); // no variable is left
    expect(await next()).toBe(''); // a child has neither
    expect(await next()).toEqual([]);
    expect(['shared', 'admin']).toContain(await text(createConnection(path)));
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  it.each([
    ['sockets for another process are left alone', '1', 'a:b', 'listening', []],
    ['names that do not match are refused', '', 'a', 'listening', 'configuration_invalid'],
    ['sockets that do not listen are refused', '', 'a:b', 'bound', 'configuration_invalid'],
    ['a count that is no number is refused', '', 'a:b', 'count', 'configuration_invalid'],
  ])('%s', async (_, pid, names, kind, expected) => {
    const path = join(temp.path, 'socket');
    const command = ['-e', ACTIVATE, path, pid, names, kind, process.execPath, SERVICE, 'listen'];
    const { stdout } = await run('perl', command, { timeout: TIMEOUT_MS });
    expect(JSON.parse(stdout.split('\n')[0] ?? '')).toEqual(expected);
  });

  it('knows its watchdog', async () => {
    expect(await service(['watchdog'])).toEqual([null]);
    expect(await service(['watchdog'], { WATCHDOG_USEC: '30000000' })).toEqual([30_000]);
    expect(await service(['watchdog'], { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' })).toEqual([null]);
    expect(await service(['watchdog'], { WATCHDOG_USEC: '-1' })).toEqual(['configuration_invalid']);
  });

  it('leaves no core file and lets nobody of its user look in', async () => {
    // With PR_SET_DUMPABLE 0 the files below /proc/PID belong to root.
    const isRoot = process.getuid?.() === 0;
    const command = [process.execPath, SERVICE, 'harden'];
    const [file = '', ...args] = isRoot
      ? ['setpriv', '--reuid', '65533', '--clear-groups', ...command]
      : command;
    const { stdout } = await run(file, args, { timeout: TIMEOUT_MS });
    expect(stdout.trim().split('\n')).toEqual(['["0","0"]', '0']);
  });
});
