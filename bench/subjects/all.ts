/** Everything that is measured, started together so that all of it meets the same machine. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'smol-toml';
import { makeSofthsmToken } from '../../scripts/sandbox/softhsm.ts';
import { manufactureSwtpm, startSwtpm } from '../../scripts/sandbox/swtpm.ts';
import type { OnceFigures } from '../figures.ts';
import type { Measurement } from '../harness/measurement.ts';
import { runRaw } from '../harness/run-raw.ts';
import { createAgent, daemonLoad, type DaemonSubject } from './daemon.ts';
import { measureOnce } from './once.ts';
import { makeBenchToken, rawToken, startP11Kit, startSshAgent } from './raw-token.ts';
import { startBenchSandbox } from './sandbox.ts';

const BARE = fileURLToPath(new URL('./bare-daemon.ts', import.meta.url));
const PIN = 'bench-1234';
const CONNECTIONS = [1, 8, 64, 256] as const;

export interface Subjects {
  readonly measurements: readonly Measurement[];
  measureOnce(short: boolean, say: (line: string) => void): Promise<OnceFigures>;
  stop(): Promise<void>;
}

/** Agents of the full daemon: a policy that reads the body of `pay-*` makes every other proof of theirs void (S3). */
const AGENTS = [
  ['pay-pkcs11', 'pkcs11', 'ES256'],
  ['p256-pkcs11', 'pkcs11', 'ES256'],
  ['ed25519-pkcs11', 'pkcs11', 'Ed25519'],
  ['rsa-pkcs11', 'pkcs11', 'RS256'],
  ['pay-tpm', 'tpm', 'ES256'],
  ['p256-tpm', 'tpm', 'ES256'],
] as const;

export async function startSubjects(
  dir: string,
  programs: string,
  say: (line: string) => void,
): Promise<Subjects> {
  const stops: (() => unknown)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    return { ...(await start(dir, programs, say, stops)), stop };
  } catch (thrown) {
    await stop();
    throw thrown;
  }
}

async function start(
  dir: string,
  programs: string,
  say: (line: string) => void,
  stops: (() => unknown)[],
): Promise<Omit<Subjects, 'stop'>> {
  const token = await makeBenchToken(join(dir, 'bench-token'));
  const rawTpmDir = join(dir, 'raw-tpm');
  await manufactureSwtpm(rawTpmDir);
  const rawTpm = await startSwtpm(rawTpmDir);
  stops.push(() => rawTpm.end('SIGTERM'));
  await mkdir(join(dir, 'ssh'));
  const ssh = await startSshAgent(join(dir, 'ssh'), token);
  stops.push(() => {
    ssh.stop();
  });
  const p11 = await startP11Kit(dir, token);
  stops.push(() => {
    p11.stop();
  });
  const sandbox = await startBenchSandbox(join(dir, 'sandbox'));
  stops.push(() => sandbox.stop());
  const bare = await startBare(join(dir, 'bare'));
  stops.push(() => bare.stop());
  say('making agents');
  for (const [name, backend, algorithm] of AGENTS) await createAgent(sandbox.full, name, backend, algorithm);
  await createAgent(bare.subject, 'p256-pkcs11', 'pkcs11', 'ES256');

  const load = (
    subject: DaemonSubject,
    agent: string,
    operation: Parameters<typeof daemonLoad>[4],
    connections: number,
  ): Measurement => daemonLoad(programs, dir, subject, agent, operation, connections);
  const { full } = sandbox;
  const measurements: readonly Measurement[] = [
    rawToken(programs, token, 'ecdsa', 1),
    rawToken(programs, token, 'ecdsa', 2),
    rawToken(programs, token, 'eddsa', 2),
    rawToken(programs, token, 'rsa', 2),
    { name: 'raw esys', run: (seconds) => runRaw(programs, 'esys_sign', [rawTpm.tcti, seconds]) },
    ssh.measurement(programs, 8),
    p11.measurement(programs, 8),
    ...CONNECTIONS.map((connections) => load(bare.subject, 'p256-pkcs11', 'http-message', connections)),
    ...CONNECTIONS.map((connections) => load(full, 'pay-pkcs11', 'http-message', connections)),
    ...CONNECTIONS.map((connections) => load(full, 'pay-tpm', 'http-message', connections)),
    load(full, 'p256-pkcs11', 'http-message', 8),
    load(full, 'p256-pkcs11', 'dpop', 8),
    load(full, 'p256-pkcs11', 'jwt', 8),
    load(full, 'ed25519-pkcs11', 'http-message', 8),
    load(full, 'rsa-pkcs11', 'http-message', 8),
    load(full, 'p256-tpm', 'dpop', 8),
  ];
  return {
    measurements,
    measureOnce,
  };
}

/** The bare daemon over a token of its own. */
async function startBare(dir: string): Promise<{ readonly subject: DaemonSubject; stop(): Promise<void> }> {
  await mkdir(join(dir, 'a'), { recursive: true });
  const at = (name: string): string => join(dir, name);
  const token = await makeSofthsmToken(at('token'), { tokenLabel: 'bare', userPin: PIN, soPin: `${PIN}-so` });
  await writeFile(at('secret'), randomBytes(32), { mode: 0o600 });
  await writeFile(at('pin'), PIN, { mode: 0o600 });
  const uid = process.getuid?.() ?? 0;
  await writeFile(
    at('agentkeyd.toml'),
    stringify({
      state: { directory: at('state') },
      sockets: { shared: at('s'), admin: at('a/s') },
      secret: { file: at('secret') },
      pkcs11: {
        module: token.module,
        token_label: 'bare',
        softhsm2_conf: token.conf,
        pin: { file: at('pin') },
      },
      limits: { connections_per_caller: 512, requests_per_caller: 512, queue_per_caller: 512 },
      policy: { create: [{ uids: [uid], names: ['*'] }], jwt_types: ['*'] },
    }),
  );
  const child: ChildProcess = spawn(process.execPath, [BARE, at('agentkeyd.toml')], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => {
      throw new Error('the bare daemon did not start');
    }),
  ]);
  return {
    subject: { name: 'bare', socket: at('s'), pid: child.pid ?? 0 },
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}
