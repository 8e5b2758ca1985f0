import { existsSync, statSync } from 'node:fs';
import { appendFile, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, afterAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon, type TestDaemonOptions } from '../support/daemon.ts';
import { exchangeRaw, openSocket, requestOverSocket } from '../support/http-over-socket.ts';
import { openNotifySocket, type NotifySocket } from '../support/notify-socket.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { startSwtpm } from '../support/swtpm.ts';

let softhsm: TestSofthsm;
const daemons: TestDaemon[] = [];
let notify: NotifySocket | undefined;

beforeAll(async () => {
  softhsm = await makeSofthsm();
});

afterAll(async () => {
  await softhsm.remove();
});

afterEach(async () => {
  await Promise.all(daemons.splice(0).map((daemon) => daemon.remove()));
  await notify?.close();
  notify = undefined;
});

async function start(options: TestDaemonOptions = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(options);
  daemons.push(daemon);
  return daemon;
}

/** A TPM that is not there: the daemon starts without hardware. */
const ABSENT_TPM = { config: { tpm: { tcti: 'swtpm:path=/nonexistent/tpm' } }, waitForHardware: false };

test('without hardware it becomes READY, says what is missing and refuses by name', async () => {
  const daemon = await start(ABSENT_TPM);
  const status = (await daemon.request('GET', '/v1/status')).json as Record<string, unknown>;
  expect(status['state']).toBe('degraded');
  expect(status['backends']).toMatchObject([{ kind: 'tpm', state: 'unavailable' }]);
  expect((await daemon.request('GET', '/readyz')).status).toBe(200);
  const refused = await daemon.request('POST', '/v1/agents', { name: 'a', backend: 'tpm' });
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1']);
  const absent = await daemon.request('POST', '/v1/agents', { name: 'a', backend: 'pkcs11' });
  expect((absent.json as { code: string }).code).toBe('backend_unavailable');
});

test.each([{ abstract: false }, { abstract: true }])(
  'tells the service manager READY, WATCHDOG and STOPPING as sd_notify has it (%j)',
  async ({ abstract }) => {
    notify = await openNotifySocket({ abstract });
    const { messages } = notify;
    const daemon = await start({
      ...ABSENT_TPM,
      env: { NOTIFY_SOCKET: notify.address, WATCHDOG_USEC: '400000' },
    });
    await expect.poll(() => messages.filter(([first]) => first === 'WATCHDOG=1').length).toBeGreaterThan(2);
    expect(messages[0]?.[0]).toBe('READY=1');
    daemon.signal('SIGHUP');
    await expect.poll(() => messages.some(([first]) => first === 'RELOADING=1')).toBe(true);
    const reloading = messages.find(([first]) => first === 'RELOADING=1');
    expect(reloading?.[1]).toMatch(/^MONOTONIC_USEC=\d+$/);
    await expect.poll(() => messages.filter(([first]) => first === 'READY=1').length).toBe(2);
    expect(await daemon.stop()).toBe(0);
    await expect.poll(() => messages.some(([first]) => first === 'STOPPING=1')).toBe(true);
  },
);

test('a service manager that can not be told any more keeps nobody from an orderly end', async () => {
  const gone = await openNotifySocket();
  const daemon = await start({ ...ABSENT_TPM, env: { NOTIFY_SOCKET: gone.address } });
  await gone.close();
  expect(await daemon.stop()).toBe(0);
  expect(daemon.log()).toContain('stopping without telling the service manager');
  expect(daemon.log()).toContain('"msg":"stopped"');
});

// Binds both sockets as systemd does, hands them over from descriptor 3 on, becomes the daemon.
const ACTIVATE = `
use strict; use Socket; use POSIX;
my ($names, $paths, @daemon) = @ARGV; my $fd = 3;
for my $path (split /:/, $paths) {
  socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die; bind($socket, pack_sockaddr_un($path)) or die "$path: $!";
  listen($socket, 64) or die; POSIX::dup2(fileno($socket), $fd) or die if fileno($socket) != $fd;
  $^F = $fd; open(my $keep, '<&=', $fd) or die; fcntl($keep, 2, 0); $fd++; push our @kept, $socket, $keep;
}
$ENV{LISTEN_FDS} = $fd - 3; $ENV{LISTEN_PID} = $$; $ENV{LISTEN_FDNAMES} = $names;
exec @daemon or die "exec: $!";
`;

test('takes its sockets from LISTEN_FDS, and what waited there is served', async () => {
  const daemon = await startDaemon({ ...ABSENT_TPM, start: false });
  daemons.push(daemon);
  const paths = [join(daemon.dir, 'x'), join(daemon.dir, 'y')];
  const launched = await start({
    ...ABSENT_TPM,
    launcher: ['perl', '-e', ACTIVATE, 'shared:admin', paths.join(':')],
  });
  for (const path of paths) {
    expect((await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
  }
  // Which is which: only the admin socket knows the admin's calls.
  const enroll = (path: string): Promise<{ status: number }> =>
    requestOverSocket(path, 'POST', '/v1/host/enroll', {});
  expect((await enroll(paths[0] ?? '')).status).toBe(404);
  expect((await enroll(paths[1] ?? '')).status).toBe(503);
  expect(existsSync(launched.socketPath)).toBe(false);
  expect(await launched.stop()).toBe(0);
  // They are the service manager's: their files stay.
  expect(existsSync(paths[0] ?? '')).toBe(true);
});

test('a socket handed over under another name ends the start', async () => {
  const daemon = await startDaemon({ ...ABSENT_TPM, start: false });
  daemons.push(daemon);
  await expect(
    start({ ...ABSENT_TPM, launcher: ['perl', '-e', ACTIVATE, 'unknown', join(daemon.dir, 'x')] }),
  ).rejects.toThrow(/ended \(3\).*FileDescriptorName/s);
});

test('SIGTERM answers what is under way, refuses what is new, and ends with 0', async () => {
  const daemon = await start({ softhsm, config: { limits: { drain_seconds: 10 } } });
  await daemon.request('POST', '/v1/agents', { name: 'drain', backend: 'pkcs11' });
  const claims = { aud: 'https://api.example' };
  const under = Array.from({ length: 40 }, () =>
    daemon.request('POST', '/v1/agents/drain/sign/jwt', { typ: 'note+jwt', claims }),
  );
  // A request that has begun to arrive is under way as well.
  const half = await openSocket(daemon.socketPath);
  let answered = '';
  half.on('data', (chunk: Buffer) => {
    answered += chunk.toString();
  });
  half.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await expect.poll(() => answered).toContain('200 OK');
  answered = '';
  half.write('GET /healthz HTTP/1.1\r\nHost: x\r\n');
  await Promise.race(under);
  const stopped = daemon.stop();
  half.write('\r\n');
  const outcomes = await Promise.allSettled(under);
  const statuses = outcomes.map((outcome) =>
    outcome.status === 'fulfilled' ? outcome.value.status : outcome.reason instanceof Error,
  );
  // Whatever had reached the daemon is signed or told to come back; a connection not yet accepted is refused.
  expect(statuses.every((status) => status === 200 || status === 503 || status === true)).toBe(true);
  expect(statuses).toContain(200);
  await expect.poll(() => answered).toMatch(/^HTTP\/1\.1 (200|503)/);
  expect(await stopped).toBe(0);
  expect(existsSync(daemon.socketPath)).toBe(false);
});

test('a second SIGTERM ends it at once', async () => {
  const daemon = await start({
    ...ABSENT_TPM,
    config: { ...ABSENT_TPM.config, limits: { drain_seconds: 60 } },
  });
  const slow = await openSocket(daemon.socketPath);
  slow.write(
    'POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  daemon.signal('SIGTERM');
  await expect.poll(() => daemon.log()).toContain('asked to stop');
  daemon.signal('SIGTERM');
  expect(await daemon.exited()).toBe(1);
  slow.destroy();
});

test('a drain that takes too long is cut', async () => {
  const daemon = await start({
    ...ABSENT_TPM,
    config: { ...ABSENT_TPM.config, limits: { drain_seconds: 1 } },
  });
  const slow = exchangeRaw(
    daemon.socketPath,
    'POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await daemon.stop()).toBe(0);
  expect(daemon.log()).toContain('requests were still under way and are cut');
  await slow;
});

test('a second instance on the same state is refused, and the first one keeps serving', async () => {
  const first = await start(ABSENT_TPM);
  await expect(
    start({ ...ABSENT_TPM, config: { ...ABSENT_TPM.config, state: { directory: first.stateDirectory } } }),
  ).rejects.toThrow(/ended \(4\).*another agentkeyd uses the state/s);
  expect((await first.request('GET', '/healthz')).status).toBe(200);
});

test('a second instance on the same socket is refused, and a stale socket file is replaced', async () => {
  const first = await start(ABSENT_TPM);
  const sockets = { shared: first.socketPath, admin: join(first.dir, 'other') };
  await expect(start({ ...ABSENT_TPM, config: { ...ABSENT_TPM.config, sockets } })).rejects.toThrow(
    /ended \(4\).*another process listens/s,
  );
  await first.kill9();
  expect(existsSync(first.socketPath)).toBe(true);
  await first.start();
  expect((await first.request('GET', '/healthz')).status).toBe(200);
});

test('a file that is no socket is not removed', async () => {
  const daemon = await startDaemon({ ...ABSENT_TPM, start: false });
  daemons.push(daemon);
  await writeFile(daemon.socketPath, 'precious');
  await expect(daemon.start()).rejects.toThrow(/ended \(3\).*is not a socket/s);
  expect(await readFile(daemon.socketPath, 'utf8')).toBe('precious');
});

test('sockets have the configured mode, state is nobody else’s', async () => {
  const daemon = await start({
    ...ABSENT_TPM,
    config: { ...ABSENT_TPM.config },
  });
  expect(statSync(daemon.socketPath).mode & 0o777).toBe(0o660);
  expect(statSync(daemon.stateDirectory).mode & 0o777).toBe(0o700);
  expect(statSync(join(daemon.stateDirectory, 'state.db')).mode & 0o777).toBe(0o600);
});

test('a state directory open to others is refused', async () => {
  const daemon = await startDaemon({ ...ABSENT_TPM, start: false });
  daemons.push(daemon);
  await mkdir(daemon.stateDirectory);
  await chmod(daemon.stateDirectory, 0o755);
  await expect(daemon.start()).rejects.toThrow(/ended \(3\).*open to others/s);
});

test('SIGHUP puts new policy in force, and a file with faults changes nothing', async () => {
  const daemon = await start({ softhsm });
  const create = async (name: string): Promise<number> =>
    (await daemon.request('POST', '/v1/agents', { name, backend: 'pkcs11' })).status;
  expect(await create('one')).toBe(201);
  const former = await readFile(daemon.configFile, 'utf8');
  await appendFile(daemon.configFile, '\nunknown = 1\n');
  daemon.signal('SIGHUP');
  await expect.poll(() => daemon.log()).toContain('the former policy stays in force');
  expect(await create('two')).toBe(201);
  await writeFile(daemon.configFile, former.replace('names = [ "*" ]', 'names = [ "only-*" ]'));
  daemon.signal('SIGHUP');
  await expect.poll(() => daemon.log()).toContain('policy read anew');
  expect(await create('three')).toBe(403);
  expect(await create('only-four')).toBe(201);
});

test('a TPM that hangs keeps nobody from starting, from being told, or from stopping', async () => {
  const tpm = await startSwtpm();
  try {
    process.kill(tpm.pid, 'SIGSTOP');
    const daemon = await start({ tpm, config: { limits: { drain_seconds: 1 } }, waitForHardware: false });
    const status = (await daemon.request('GET', '/v1/status')).json as { backends: { state: string }[] };
    expect(status.backends[0]?.state).not.toBe('ready');
    expect(await daemon.stop()).toBe(1);
    expect(daemon.log()).toContain('the hardware does not let go');
  } finally {
    process.kill(tpm.pid, 'SIGCONT');
    await tpm.stop();
  }
});

test('S20: with no descriptors left it refuses who comes, and serves again when there are some', async () => {
  const daemon = await start({ ...ABSENT_TPM, launcher: ['prlimit', '--nofile=60:60'] });
  const held = await Promise.all(Array.from({ length: 60 }, () => openSocket(daemon.socketPath)));
  for (const socket of held) socket.on('error', () => undefined);
  await expect.poll(() => daemon.log()).toContain('connection refused');
  for (const socket of held) socket.destroy();
  await expect.poll(async () => (await daemon.request('GET', '/healthz')).status).toBe(200);
});

test.skipIf(!existsSync('/usr/bin/systemd-socket-activate'))(
  'systemd’s own activation starts it with the first connection',
  async () => {
    const spare = await startDaemon({ ...ABSENT_TPM, start: false });
    daemons.push(spare);
    const paths = { shared: join(spare.dir, 'x'), admin: join(spare.dir, 'y') };
    const starting = start({
      ...ABSENT_TPM,
      paths,
      launcher: [
        'systemd-socket-activate',
        `--listen=${paths.shared}`,
        `--listen=${paths.admin}`,
        '--fdname=shared:admin',
      ],
    });
    await expect.poll(() => existsSync(paths.admin)).toBe(true);
    // Waits in the socket until there is a daemon to answer it.
    expect((await requestOverSocket(paths.shared, 'GET', '/healthz')).status).toBe(200);
    const daemon = await starting;
    expect((await daemon.admin('GET', '/v1/agents')).status).toBe(200);
  },
);
