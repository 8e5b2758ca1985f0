/** S10 with real processes: what a caller can do to be taken for another. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CallerIdentifier } from '../../../src/caller/identify.ts';
import { readPeer } from '../../../src/caller/peer-credentials.ts';
import { ok, route } from '../../../src/socket/route.ts';
import { startSocket, type SocketFixture } from '../../support/socket-fixture.ts';

const whoami = route({
  method: 'GET',
  path: '/whoami',
  operation: 'whoami',
  on: ['shared'],
  handle: ({ caller }) => Promise.resolve(ok(caller)),
});

let fixture: SocketFixture;
let admitting: SocketFixture;

beforeAll(async () => {
  fixture = await startSocket([whoami]);
  const uid = process.getuid?.() ?? 0;
  admitting = await startSocket([whoami], {
    identifier: new CallerIdentifier({
      readPeer,
      admittedUids: [uid, 1234],
    }),
  });
});

afterAll(async () => {
  await fixture.stop();
  await admitting.stop();
});

// The system's own where there is one: other users may not be able to run one that is only in our PATH.
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

const COMMON = `
import json, os, socket, sys, time
path = sys.argv[1]
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(path); return s
def ask(s):
    s.sendall(b'GET /whoami HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    data = b''
    while b'\\r\\n\\r\\n' not in data:
        more = s.recv(65536)
        if not more: return {'closed': True}
        data += more
    head, body = data.split(b'\\r\\n\\r\\n', 1)
    length = int([l for l in head.decode().lower().split('\\r\\n') if l.startswith('content-length')][0].split(':')[1])
    while len(body) < length: body += s.recv(65536)
    return {'status': int(head.split()[1]), **json.loads(body)}
def closed(s):
    try: return s.recv(1) == b''
    except ConnectionResetError: return True
def tell(**what):
    sys.stdout.write(json.dumps(what)); sys.stdout.flush()
`;

type Told = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Runs a helper process that speaks with the socket and tells what it saw. */
async function run(script: string, path: string, before: readonly string[] = []): Promise<Told> {
  // env: the command before it may be none.
  const child = spawn('env', [...before, PYTHON, '-c', COMMON + script, path], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 40_000,
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  await new Promise((resolve) => child.on('close', resolve));
  if (out === '') throw new Error(`the helper told nothing: ${err}`);
  return JSON.parse(out) as Told;
}

test('a caller is its process: uid, pid, start time, executable', async () => {
  const { first, second, self } = await run(
    `s = connect(); tell(first=ask(s), second=ask(s), self={'pid': os.getpid(), 'uid': os.getuid()})`,
    fixture.path,
  );
  expect(first).toMatchObject({ status: 200, ...self });
  expect(first?.['startTimeTicks']).toMatch(/^\d+$/);
  expect(first?.['executableSha256']).toMatch(/^[0-9a-f]{64}$/);
  expect(second).toEqual(first);
});

test('S10: connect, fork, exec the allowed program: the child’s words are not the program’s', async () => {
  const { before, after, end } = await run(
    `
s = connect()
before = ask(s)
me = os.getpid()
if os.fork() == 0:
    # Only when the parent has become the allowed program does the child write on its connection.
    deadline = time.time() + 15
    while time.time() < deadline and 'python' in os.readlink('/proc/%d/exe' % me): time.sleep(0.01)
    after = ask(s)
    tell(before=before, after=after, end={'closed': closed(s)})
    os._exit(0)
os.execv('/bin/sleep', ['sleep', '3'])
`,
    fixture.path,
  );
  expect(before?.['status']).toBe(200);
  expect(after).toMatchObject({ status: 403, code: 'caller_unknown' });
  expect(end).toEqual({ closed: true });
});

test('S10: a connection outlives its process: the one that inherited it is refused', async () => {
  const { after, end } = await run(
    `
s = connect()
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    # Grandchild keeps the connection, the connecting process is the child that exits.
    c = connect()
    g = os.fork()
    if g != 0: os._exit(0)
    os.read(r, 1)
    after = ask(c)
    tell(after=after, end={'closed': closed(c)})
    os._exit(0)
os.waitpid(pid, 0)
os.write(w, b'x')
time.sleep(1.5)
`,
    fixture.path,
  );
  expect(after).toMatchObject({ status: 403, code: 'caller_unknown' });
  expect(end).toEqual({ closed: true });
});

test('S10: SCM_RIGHTS: a connection handed to another process still speaks for who opened it, and ends with it', async () => {
  const { opener, receiver, lent, orphaned } = await run(
    `
a, b = socket.socketpair(socket.AF_UNIX)
pid = os.fork()
if pid == 0:
    s = connect()
    socket.send_fds(a, [json.dumps({'pid': os.getpid()}).encode()], [s.fileno()])
    a.recv(1)
    os._exit(0)
message, fds, _, _ = socket.recv_fds(b, 4096, 1)
s = socket.socket(fileno=fds[0]); s.settimeout(20)
lent = ask(s)
b.send(b'x')
os.waitpid(pid, 0)
tell(opener=json.loads(message), receiver={'pid': os.getpid()}, lent=lent, orphaned=ask(s))
`,
    fixture.path,
  );
  expect(lent).toMatchObject({ status: 200, pid: opener?.['pid'] });
  expect(lent?.['pid']).not.toBe(receiver?.['pid']);
  expect(orphaned).toMatchObject({ status: 403, code: 'caller_unknown' });
});

const canUnshare = spawnSync('unshare', ['-Ur', 'true']).status === 0;

test.skipIf(!canUnshare)('S10: container uid 0 is no uid 0: another user namespace is refused', async () => {
  const { refused } = await run(`s = connect(); tell(refused=ask(s))`, fixture.path, ['unshare', '-Ur']);
  expect(refused).toMatchObject({ status: 403, code: 'caller_unknown' });
  const { admitted, self } = await run(
    `s = connect(); tell(admitted=ask(s), self={'inside': os.getuid()})`,
    admitting.path,
    ['unshare', '-Ur'],
  );
  expect(self).toEqual({ inside: 0 });
  expect(admitted).toMatchObject({ status: 200, uid: process.getuid?.() });
});

const isRoot = process.getuid?.() === 0;

test.skipIf(!isRoot)('S10: uid 0 in a container of another user is that user', async () => {
  const { admitted } = await run(`s = connect(); tell(admitted=ask(s))`, admitting.path, [
    'setpriv',
    '--reuid=1234',
    '--regid=1234',
    '--clear-groups',
    'unshare',
    '-Ur',
  ]);
  expect(admitted).toMatchObject({ status: 200, uid: 1234, gid: 1234 });
});

test.skipIf(!isRoot)('S10: the overflow uid is refused', async () => {
  const { refused } = await run(`s = connect(); tell(refused=ask(s))`, fixture.path, [
    'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
  ]);
  expect(refused).toMatchObject({ status: 403, code: 'caller_unknown' });
});

test('descriptors do not pile up: every pidfd is closed with its connection', async () => {
  const count = (): number =>
    Number(spawnSync('sh', ['-c', `ls /proc/${process.pid}/fd | wc -l`]).stdout.toString());
  const before = count();
  for (let round = 0; round < 3; round += 1) {
    await run(
      `
for _ in range(50):
    s = connect(); ask(s); s.close()
tell(done={})`,
      fixture.path,
    );
  }
  await expect.poll(count).toBeLessThan(before + 20);
});
