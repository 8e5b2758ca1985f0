/** Everything that is measured, started together so that all of it meets the same machine. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manufactureSwtpm, startSwtpm } from '../../scripts/sandbox/swtpm.ts';
import type { Measurement } from '../harness/measurement.ts';
import { runRaw } from '../harness/run-raw.ts';
import { createAgent, daemonLoad, type DaemonSubject } from './daemon.ts';
import { provision, startLone } from './lone-daemon.ts';
import { measureOnce, type OnceResults } from './once.ts';
import type { ScaleContext } from './scale/context.ts';
import { makeBenchToken, rawToken, startP11Kit, startSshAgent } from './raw-token.ts';
import { startBenchSandbox } from './sandbox.ts';

const BARE = fileURLToPath(new URL('./bare-daemon.ts', import.meta.url));
const CONNECTIONS = [1, 8, 64, 256] as const;

export interface Subjects {
  readonly measurements: readonly Measurement[];
  /** What scale costs; its own states are made below `context.dir`. */
  measureOnce(context: ScaleContext): Promise<OnceResults>;
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
  const bare = await startLone('bare', await provision(join(dir, 'bare')), BARE);
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
    measureOnce: (context) => measureOnce(context, sandbox),
  };
}
