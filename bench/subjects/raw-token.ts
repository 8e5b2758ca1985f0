/** A SoftHSM token of the bench's own beside the daemon's, and what signs with it: C, ssh-agent, p11-kit. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeSofthsmToken, type SofthsmToken } from '../../scripts/sandbox/softhsm.ts';
import type { Measurement, Sample } from '../harness/measurement.ts';
import { runRaw } from '../harness/run-raw.ts';

const run = promisify(execFile);
const PIN = 'bench-1234';
const CONNECT_INTERVAL_MS = 30;
const CONNECT_ATTEMPTS = 5;
const KEYS = [
  ['ecdsa', 'EC:prime256v1'],
  ['eddsa', 'EC:edwards25519'],
  ['rsa', 'rsa:2048'],
] as const;

export type RawMechanism = (typeof KEYS)[number][0];

export async function makeBenchToken(dir: string): Promise<SofthsmToken> {
  const token = await makeSofthsmToken(dir, { tokenLabel: 'bench', userPin: PIN, soPin: `${PIN}-so` });
  for (const [label, type] of KEYS) {
    const args = ['--module', token.module, '--token-label', 'bench', '--login', '--pin', PIN];
    await run('pkcs11-tool', [...args, '--keypairgen', '--key-type', type, '--label', label, '--id', '01'], {
      env: { ...process.env, SOFTHSM2_CONF: token.conf },
    });
  }
  return token;
}

/** C_SignInit and C_Sign in a loop. */
export function rawToken(
  programs: string,
  token: SofthsmToken,
  mechanism: RawMechanism,
  threads: number,
): Measurement {
  return {
    name: `raw ${mechanism} t${threads}`,
    run: (seconds) =>
      runRaw(programs, 'pkcs11_sign', [token.module, 'bench', PIN, mechanism, mechanism, threads, seconds], {
        SOFTHSM2_CONF: token.conf,
      }),
  };
}

/**
 * What the design requires of every signature and nothing else, in C; `full` with the records that are durable, in
 * `dir`. So much of a bound is left for callers, HTTP, JSON, policy and typed signing as is not taken by this.
 */
export function requiredSteps(
  programs: string,
  token: SofthsmToken,
  kind: 'bare' | 'full',
  inFlight: number,
  dir: string,
): Measurement {
  const records = kind === 'full' ? [dir] : [];
  return {
    name: stepsName(kind, inFlight),
    run: (seconds) =>
      runRaw(
        programs,
        'required_steps',
        [token.module, 'bench', PIN, 'ecdsa', inFlight, seconds, ...records],
        { SOFTHSM2_CONF: token.conf },
      ),
  };
}

export function stepsName(kind: 'bare' | 'full', inFlight: number): string {
  return `required steps ${kind} c${inFlight}`;
}

/** OpenSSH's agent with the P-256 key of the token; every connection signs with it. */
export async function startSshAgent(
  dir: string,
  token: SofthsmToken,
): Promise<{
  measurement(programs: string, connections: number): Measurement;
  stop(): void;
}> {
  const only = await makeSofthsmToken(join(dir, 'ssh-token'), {
    tokenLabel: 'ssh',
    userPin: PIN,
    soPin: `${PIN}-so`,
  });
  const env = { ...process.env, SOFTHSM2_CONF: only.conf };
  const args = ['--module', token.module, '--token-label', 'ssh', '--login', '--pin', PIN];
  await run(
    'pkcs11-tool',
    [...args, '--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'k', '--id', '01'],
    {
      env,
    },
  );
  const socket = join(dir, 'agent.sock');
  const agent = spawn('ssh-agent', ['-D', '-a', socket, '-P', await realpath(token.module)], {
    env,
    stdio: 'ignore',
  });
  await delay(300);
  const askpass = join(dir, 'askpass');
  await writeFile(askpass, `#!/bin/sh\necho ${PIN}\n`);
  await chmod(askpass, 0o700);
  await run('ssh-add', ['-s', token.module], {
    env: { ...env, SSH_AUTH_SOCK: socket, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' },
  });
  return {
    measurement: (programs, connections) => ({
      name: `ssh-agent c${connections}`,
      run: (seconds) => runRaw(programs, 'agent_sign', [socket, connections, seconds]),
    }),
    stop: () => void agent.kill(),
  };
}

/** p11-kit server: the token over a Unix socket, for whoever connects; one process a connection. */
export async function startP11Kit(
  dir: string,
  token: SofthsmToken,
): Promise<{
  measurement(programs: string, clients: number): Measurement;
  stop(): void;
}> {
  const socket = join(dir, 'p11.sock');
  const server: ChildProcess = spawn(
    'p11-kit',
    ['server', '--foreground', '--provider', token.module, '--name', socket, 'pkcs11:token=bench'],
    { env: { ...process.env, SOFTHSM2_CONF: token.conf }, stdio: 'ignore' },
  );
  await delay(500);
  if (server.exitCode !== null) throw new Error('p11-kit server did not start');
  const { stdout } = await run('sh', ['-c', 'ls /usr/lib/*/pkcs11/p11-kit-client.so']);
  const client = stdout.trim();
  return {
    measurement: (programs, clients) => ({
      name: `p11-kit c${clients}`,
      run: async (seconds) => {
        // Clients that connect in the same instant get an error from the server now and then.
        const one = async (index: number): Promise<Sample> => {
          await delay(index * CONNECT_INTERVAL_MS);
          return retried(() =>
            runRaw(programs, 'pkcs11_sign', [client, 'bench', PIN, 'ecdsa', 'ecdsa', 1, seconds], {
              P11_KIT_SERVER_ADDRESS: `unix:path=${socket}`,
            }),
          );
        };
        const samples = await Promise.all(Array.from({ length: clients }, (_, index) => one(index)));
        return {
          opsPerS: samples.reduce((sum, { opsPerS }) => sum + opsPerS, 0),
          p50Us: samples.reduce((sum, { p50Us }) => sum + p50Us, 0) / clients,
          p99Us: Math.max(...samples.map(({ p99Us }) => p99Us)),
        };
      },
    }),
    stop: () => {
      server.kill();
      void once(server, 'exit');
    },
  };
}

async function retried<T>(act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act();
    } catch (thrown) {
      if (attempt === CONNECT_ATTEMPTS) throw thrown;
      await delay(CONNECT_INTERVAL_MS);
    }
  }
}
