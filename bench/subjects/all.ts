/** Everything that is measured in rounds, started together so that all of it meets the same machine. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manufactureSwtpm, startSwtpm } from '../../scripts/sandbox/swtpm.ts';
import type { Group } from '../harness/measurement.ts';
import { runRaw } from '../harness/run-raw.ts';
import { COMPOSITIONS, profileStages, startComposed, type Stage } from './composed.ts';
import { createAgent, daemonLoad, type BenchOperation, type DaemonSubject } from './daemon.ts';
import { provision, startLone } from './lone-daemon.ts';
import { measureOnce, type OnceResults } from './once.ts';
import { makeBenchToken, rawToken, requiredSteps, startP11Kit, startSshAgent } from './raw-token.ts';
import { startBenchSandbox } from './sandbox.ts';
import type { ScaleContext } from './scale/context.ts';

const BARE = fileURLToPath(new URL('./bare-daemon.ts', import.meta.url));
const CONNECTIONS = [1, 8, 64, 256] as const;
/** A daemon lives for weeks, and V8 compiles what is hot for the last time after tens of thousands of requests. */
const WARM_UP_S = 8;

export interface Subjects {
  readonly groups: readonly Group[];
  /** What scale costs; its own states are made below `context.dir`. */
  measureOnce(context: ScaleContext): Promise<OnceResults>;
  /** Where the time of one full signature goes. */
  profile(passes: number): Promise<readonly Stage[]>;
  stop(): Promise<void>;
}

/** A policy that reads the body of `pay-*` makes every other proof of theirs void (S3). */
const AGENTS = [
  ['pay-pkcs11', 'pkcs11', 'ES256'],
  ['p256-pkcs11', 'pkcs11', 'ES256'],
  ['ed25519-pkcs11', 'pkcs11', 'Ed25519'],
  ['rsa-pkcs11', 'pkcs11', 'RS256'],
  ['pay-tpm', 'tpm', 'ES256'],
  ['p256-tpm', 'tpm', 'ES256'],
] as const;
const KEYS = ['p256-pkcs11', 'ed25519-pkcs11', 'rsa-pkcs11', 'p256-tpm'] as const;
/** Of a daemon without issuer: a key with credentials signs no raw octets (S1). */
const RAW_AGENTS = [
  ['raw-p256-pkcs11', 'pkcs11', 'ES256'],
  ['raw-ed25519-pkcs11', 'pkcs11', 'Ed25519'],
  ['raw-rsa-pkcs11', 'pkcs11', 'RS256'],
  ['raw-p256-tpm', 'tpm', 'ES256'],
] as const;

/** @param short the figures and one of each kind, instead of every kind at every number of connections */
export async function startSubjects(
  dir: string,
  programs: string,
  short: boolean,
  say: (line: string) => void,
): Promise<Subjects> {
  const stops: (() => unknown)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    return { ...(await start({ dir, programs, short, say, stops })), stop };
  } catch (thrown) {
    await stop();
    throw thrown;
  }
}

interface Starting {
  readonly dir: string;
  readonly programs: string;
  readonly short: boolean;
  readonly say: (line: string) => void;
  readonly stops: (() => unknown)[];
}

async function start({ dir, programs, short, say, stops }: Starting): Promise<Omit<Subjects, 'stop'>> {
  const raw = await startRaw(dir, programs, stops);
  const sandbox = await startBenchSandbox(join(dir, 'sandbox'), 'full');
  stops.push(() => sandbox.stop());
  const composed = await startComposed(join(dir, 'composed'));
  stops.push(() => composed.stop());
  const bare = await startLone('bare', await provision(join(dir, 'bare'), { token: true }), BARE);
  stops.push(() => bare.stop());
  const local = await startLocal(join(dir, 'local'), stops);
  say('making agents');
  for (const [name, backend, algorithm] of AGENTS) await createAgent(sandbox.full, name, backend, algorithm);
  for (const [name, backend, algorithm] of RAW_AGENTS) await createAgent(local, name, backend, algorithm);
  await createAgent(bare.subject, 'p256-pkcs11', 'pkcs11', 'ES256');

  const load = (subject: DaemonSubject, agent: string, kind: BenchOperation, connections: number) =>
    daemonLoad(programs, dir, subject, agent, kind, connections);
  const { full } = sandbox;
  const connections = short ? [1, 8, 64] : CONNECTIONS;
  const token: Group = [
    ...raw.token,
    ...connections.map((count) => load(bare.subject, 'p256-pkcs11', 'http-message', count)),
    ...connections.map((count) => load(full, 'pay-pkcs11', 'http-message', count)),
  ];
  const tpm: Group = [
    ...raw.tpm,
    ...connections.map((count) => load(full, 'pay-tpm', 'http-message', count)),
  ];
  const kinds: Group = (short ? [8] : CONNECTIONS).flatMap((count) =>
    KEYS.flatMap((key) => [
      load(full, key, 'http-message', count),
      ...(short && !key.startsWith('p256')
        ? []
        : [
            load(full, key, 'dpop', count),
            load(full, key, 'jwt', count),
            load(local, `raw-${key}`, 'raw', count),
          ]),
    ]),
  );
  const compositions: Group = [1, 8].flatMap((count) =>
    COMPOSITIONS.map((part) => load(composed.full, `${part}-pkcs11`, 'http-message', count)),
  );
  say(`warming up, ${WARM_UP_S} s each`);
  const hot = [
    load(bare.subject, 'p256-pkcs11', 'http-message', 64),
    load(full, 'pay-pkcs11', 'http-message', 64),
    load(full, 'pay-tpm', 'http-message', 64),
    load(composed.full, 'pay-pkcs11', 'http-message', 64),
  ];
  for (const { run } of hot) await run(WARM_UP_S);
  return {
    groups: [token, tpm, kinds, compositions],
    measureOnce: (context) => measureOnce(context, sandbox),
    profile: (passes) => profileStages(programs, dir, composed, passes),
  };
}

/** The raw loops over token and TPM, and the peers. */
async function startRaw(
  dir: string,
  programs: string,
  stops: (() => unknown)[],
): Promise<{ readonly token: Group; readonly tpm: Group }> {
  const token = await makeBenchToken(join(dir, 'bench-token'));
  const tpmDir = join(dir, 'raw-tpm');
  await manufactureSwtpm(tpmDir);
  const tpm = await startSwtpm(tpmDir);
  stops.push(() => tpm.end('SIGTERM'));
  const steps = join(dir, 'steps');
  await mkdir(steps);
  await mkdir(join(dir, 'ssh'));
  const ssh = await startSshAgent(join(dir, 'ssh'), token);
  stops.push(() => {
    ssh.stop();
  });
  const p11 = await startP11Kit(dir, token);
  stops.push(() => {
    p11.stop();
  });
  return {
    token: [
      rawToken(programs, token, 'ecdsa', 1),
      rawToken(programs, token, 'ecdsa', 2),
      rawToken(programs, token, 'eddsa', 2),
      rawToken(programs, token, 'rsa', 2),
      ...([8, 64] as const).map((inFlight) => requiredSteps(programs, token, 'bare', inFlight, steps)),
      ...([1, 8, 64] as const).map((inFlight) => requiredSteps(programs, token, 'full', inFlight, steps)),
      ssh.measurement(programs, 1),
      ssh.measurement(programs, 8),
      p11.measurement(programs, 1),
      p11.measurement(programs, 8),
    ],
    tpm: [
      { name: 'raw esys', run: (seconds) => runRaw(programs, 'esys_sign', [tpm.tcti, seconds]) },
      {
        name: 'tpm2-openssl',
        run: (seconds) => runRaw(programs, 'openssl_sign', ['tpm2', seconds], { TPM2OPENSSL_TCTI: tpm.tcti }),
      },
    ],
  };
}

/** What ships, without issuer, over a TPM and a token of its own. */
async function startLocal(dir: string, stops: (() => unknown)[]): Promise<DaemonSubject> {
  const tpm = await startSwtpm(join(dir, 'tpm'));
  stops.push(() => tpm.end('SIGTERM'));
  const running = await startLone('full', await provision(dir, { tcti: tpm.tcti, token: true }));
  stops.push(() => running.stop());
  return running.subject;
}
