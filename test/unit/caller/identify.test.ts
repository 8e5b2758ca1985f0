import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  CallerIdentifier,
  type CallerIdentifierOptions,
  type PeerConnection,
} from '../../../src/caller/identify.ts';
import { readPeer, socketFd, type KernelPeer } from '../../../src/caller/peer-credentials.ts';
import { parseProcStat } from '../../../src/caller/process-info.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { makeFakeProc, type FakeProc } from '../../support/fake-proc.ts';
import { STAY, startPeerServer, type PeerServer } from '../../support/peer-server.ts';

const PID = 4242;
/** Before Linux 6.5, or of a process that ended as it connected. */
const UNPINNED: KernelPeer = { uid: 1000, gid: 1000, pid: PID, groups: [1000, 27] };
/** `pidfd` stands for a real one, of the process that lives. */
const PEER: KernelPeer = { ...UNPINNED, pidfd: 9 };

let proc: FakeProc;
let server: PeerServer;
let living: Socket;

beforeAll(async () => {
  server = await startPeerServer();
  living = (await server.connect(STAY)).socket;
});
afterAll(() => server.stop());

beforeEach(async () => {
  proc = await makeFakeProc();
  await proc.put(PID, {});
});
afterEach(() => proc.remove());

function identifier(peer: KernelPeer, options: Partial<CallerIdentifierOptions> = {}): CallerIdentifier {
  return new CallerIdentifier({
    readPeer: () => (peer.pidfd === undefined ? peer : { ...peer, pidfd: pidfdOf(living) }),
    admittedUids: [],
    proc: proc.path,
    ...options,
  });
}

function pidfdOf(socket: Socket): number {
  const { pidfd } = readPeer(socketFd(socket));
  if (pidfd === undefined) throw new Error('this kernel has no SO_PEERPIDFD');
  return pidfd;
}

function connect(peer: KernelPeer = PEER, options: Partial<CallerIdentifierOptions> = {}): PeerConnection {
  return identifier(peer, options).connect(3, { kind: 'shared' });
}

test('the kernel’s facts become the caller', async () => {
  expect(await connect().identify()).toEqual({
    cgroup: '/system.slice/real.service',
    ingress: { kind: 'shared' },
    uid: 1000,
    gid: 1000,
    groups: [1000, 27],
    pid: PID,
    startTimeTicks: '1000',
    unit: 'real.service',
  });
});

test('the executable is hashed where it may be read, by content and not by name', async () => {
  const executable = join(proc.path, 'program');
  await writeFile(executable, 'one');
  await proc.put(PID, { executable });
  const sha256 = createHash('sha256').update('one').digest('hex');
  const connection = connect();
  expect((await connection.identify()).executableSha256).toBe(sha256);
  await writeFile(executable, 'two');
  await utimes(executable, new Date(), new Date());
  expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
  expect((await connect().identify()).executableSha256).toBe(
    createHash('sha256').update('two').digest('hex'),
  );
});

test('S10: PID reuse, another start time under the same pid ends the connection', async () => {
  const connection = connect(UNPINNED);
  await connection.identify();
  await proc.put(PID, { startTimeTicks: '2000' });
  expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
});

test.each([
  ['cgroup', { cgroup: '0::/system.slice/other.service\n' }],
  ['executable', { executable: '/proc/self/exe' }],
])('S10: a changed %s ends the connection', async (_what, change) => {
  for (const peer of [PEER, UNPINNED]) {
    await proc.put(PID, {});
    const connection = connect(peer);
    await connection.identify();
    await proc.put(PID, change);
    expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
  }
});

test.each([
  ['has ended', () => proc.end(PID)],
  ['is a zombie', () => proc.put(PID, { state: 'Z' })],
])('S10: a connection whose process %s is closed', async (_what, end) => {
  const connection = connect(UNPINNED);
  await connection.identify();
  await end();
  expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
  expect(codeOf(() => connect(UNPINNED))).toBe('caller_unknown');
});

test('S10: a connection whose process has ended, as its pidfd says, is closed', async () => {
  const { peer, socket }: { peer: ChildProcess; socket: Socket } = await server.connect(STAY);
  const pinned = { ...UNPINNED, pidfd: pidfdOf(socket) };
  const later = { ...UNPINNED, pidfd: pidfdOf(socket) };
  const connection = connect(PEER, { readPeer: () => pinned });
  await connection.identify();
  peer.stdin?.end();
  await once(peer, 'exit');
  // Whatever /proc says by now.
  expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
  expect(codeOf(() => connect(PEER, { readPeer: () => later }))).toBe('caller_unknown');
});

test('S10: without a pidfd nothing that was read by pid is believed', async () => {
  const connection = connect(UNPINNED);
  expect(await connection.identify()).toEqual({
    ingress: { kind: 'shared' },
    uid: 1000,
    gid: 1000,
    groups: [1000, 27],
    pid: PID,
  });
  expect(connection.share).toBe('uid:1000');
});

test('S10: a process whose name looks like the rest of its stat line fools nobody', async () => {
  await proc.put(PID, { name: 'x) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 77 (y' });
  expect((await connect().identify()).startTimeTicks).toBe('1000');
});

test('S10: the overflow uid is refused unless it is named', () => {
  const peer = { ...PEER, uid: 65_534 };
  expect(codeOf(() => connect(peer))).toBe('caller_unknown');
  expect(codeOf(() => connect(peer, { admittedUids: [65_534] }))).toBeUndefined();
});

test('S10: a peer in another user namespace is refused unless its uid is named', async () => {
  await proc.put(PID, { uidMap: '         0       1000          1\n' });
  expect(codeOf(() => connect())).toBe('caller_unknown');
  expect(codeOf(() => connect(PEER, { admittedUids: [0] }))).toBe('caller_unknown');
  expect(codeOf(() => connect(PEER, { admittedUids: [1000] }))).toBeUndefined();
});

test('S10: a peer whose process can not be seen is refused', () => {
  expect(codeOf(() => connect({ ...PEER, pid: 0 }))).toBe('caller_unknown');
});

test('S10: in a cgroup namespace of our own, paths name no unit', async () => {
  const other = await makeFakeProc('cgroup:[4026532000]');
  await other.put(PID, {});
  expect((await connect(PEER, { proc: other.path }).identify()).unit).toBeUndefined();
  await other.remove();
});

test('a socket that has no peer is refused', () => {
  const readPeer = (): KernelPeer => {
    throw new Error('ENOTCONN');
  };
  expect(codeOf(() => connect(PEER, { readPeer }))).toBe('caller_unknown');
});

test('no descriptor stays open of a connection that is closed or refused', () => {
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  const connection = connect();
  connection.close();
  connection.close();
  expect(codeOf(() => connect({ ...PEER, uid: 65_534 }))).toBe('caller_unknown');
  expect(codeOf(() => connect({ ...PEER, pid: 0 }))).toBe('caller_unknown');
  expect(open()).toBe(before);
});

test('a closed connection identifies nobody', async () => {
  const connection = connect();
  connection.close();
  expect(await codeOfAsync(() => connection.identify())).toBe('caller_unknown');
});

test('S20: the share is the container, the unit of that uid, or the uid; never the process', async () => {
  const id = 'ab'.repeat(32);
  expect(connect().share).toBe('unit:real.service:1000');
  await proc.put(PID, { cgroup: `0::/system.slice/docker-${id}.scope\n` });
  expect(connect().share).toBe(`container:${id}`);
  await proc.put(PID, { cgroup: '0::/user.slice/user-1000.slice/session-1.scope\n' });
  expect(connect().share).toBe('uid:1000');
});

test.each(['', '1 x', '1 (x) S', '1 (x', `1 (x) S ${'0 '.repeat(18)}abc`])(
  'stat line %j is refused',
  (text) => {
    expect(parseProcStat(text)).toBeUndefined();
  },
);

test('a stat line cut off anywhere before its start time gives nothing', () => {
  const whole = `1 (x) S ${'0 '.repeat(18)}1234`;
  for (let length = 0; length < whole.length - 4; length += 1) {
    expect(parseProcStat(whole.slice(0, length))).toBeUndefined();
  }
  expect(parseProcStat(whole)).toEqual({ state: 'S', startTimeTicks: '1234' });
});
