#!/usr/bin/env node
/**
 * `npm run sandbox -- --dir DIR`: a software TPM, a SoftHSM token, an issuer and a daemon enrolled with it,
 * all below DIR, until SIGTERM or Ctrl-C. Started again on the same DIR it goes on with the same keys. `--daemon
 * FILE` has another program in the daemon's place: the bench tells so what its parts cost.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { daemonSockets, provisionDaemon, startDaemonProcess, waitUntilEnrolled } from './daemon.ts';
import { writeDescription } from './description.ts';
import {
  initialiseIssuerKeys,
  provisionIssuer,
  SANDBOX_GRANT,
  startIssuerProcess,
  writeHosts,
} from './issuer.ts';
import { makeSofthsmToken, softhsmTokenFacts, type SofthsmToken } from './softhsm.ts';
import { manufactureSwtpm, startSwtpm, swtpmCa } from './swtpm.ts';
import { exists } from './exists.ts';
import { freePort } from './free-port.ts';

const ENROL_TIMEOUT_MS = 60_000;
/** sun_path holds 108 octets, the last a NUL. */
const MAX_SOCKET_PATH_OCTETS = 107;
/** There is one host: no other's share of the issuer is to be kept. */
const ONE_HOST_LIMITS = { requests_per_host_per_minute: 100_000, issuances_per_host_per_minute: 100_000 };
const USAGE = 'usage: npm run sandbox -- --dir DIR\n';

/** What was started, newest last; ended in reverse. */
const running: { readonly name: string; readonly stop: () => Promise<void> }[] = [];
let ending = false;

async function main({ dir, program }: Arguments): Promise<void> {
  const at = (...parts: string[]): string => join(dir, ...parts);
  checkLength(dir, daemonSockets(at('daemon')).adminSocket);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await rm(at('sandbox.json'), { force: true });

  say('TPM (swtpm)');
  const made = await exists(at('tpm', 'state'));
  if (!made) await manufactureSwtpm(at('tpm'));
  const tpm = await startSwtpm(at('tpm'));
  running.push({ name: 'swtpm', stop: () => tpm.end('SIGTERM') });

  say('HSM tokens (SoftHSM)');
  const agents = await token(at('token'), 'agents');
  const issuerToken = await token(at('issuer', 'token'), 'issuer');

  say('issuer');
  const ca = swtpmCa(at('tpm'));
  const issuer = await provisionIssuer({
    dir: at('issuer'),
    port: await keptPort(at('issuer', 'port')),
    token: issuerToken.token,
    userPin: issuerToken.pin,
    testRootsFile: ca.rootFile,
    intermediatesFile: ca.issuerFile,
    limits: ONE_HOST_LIMITS,
  });
  await writeHosts(issuer.hostsFile, [
    {
      label: 'sandbox-host',
      ekSha256: await ekSha256(at('tpm')),
      namePatterns: ['*'],
      principal: `uid:${process.getuid?.() ?? 0}@sandbox`,
      grant: SANDBOX_GRANT,
      tokens: [await softhsmTokenFacts(agents.token)],
    },
  ]);
  await initialiseIssuerKeys(issuer.configFile);
  const issuerLog = openSync(at('issuer.log'), 'a', 0o600);
  const issuerProcess = await startIssuerProcess(issuer, { timeoutMs: ENROL_TIMEOUT_MS, log: issuerLog });
  closeSync(issuerLog);
  running.push({ name: 'agentkey-issuer', stop: () => issuerProcess.stop() });

  say('daemon, and its enrolment');
  const daemon = await provisionDaemon({
    dir: at('daemon'),
    tcti: tpm.tcti,
    token: agents.token,
    userPin: agents.pin,
    issuer,
  });
  const daemonLog = openSync(at('agentkeyd.log'), 'a', 0o600);
  const daemonProcess = startDaemonProcess(daemon, daemonLog, program);
  closeSync(daemonLog);
  running.push({ name: 'agentkeyd', stop: () => daemonProcess.stop() });
  daemonProcess.child.once('exit', (code) => {
    if (!ending)
      void end(`agentkeyd ended by itself with exit code ${String(code)}; see ${at('agentkeyd.log')}`, 1);
  });
  await waitUntilEnrolled(daemon, daemonProcess.child, ENROL_TIMEOUT_MS);

  const env = [
    `export AGENTKEYD_SOCKET=${daemon.socket}`,
    `export AGENTKEYD_ADMIN_SOCKET=${daemon.adminSocket}`,
    `export AGENTKEY_ISSUER_URL=${issuer.url}`,
    `export AGENTKEY_ISSUER_CA=${issuer.caFile}`,
    `export TPM2TOOLS_TCTI=${tpm.tcti}`,
    `export TPM2OPENSSL_TCTI=${tpm.tcti}`,
    `export SOFTHSM2_CONF=${agents.token.conf}`,
  ];
  await writeDescription(at('sandbox.json'), {
    ready: true,
    socket: daemon.socket,
    adminSocket: daemon.adminSocket,
    issuerUrl: issuer.url,
    issuer: issuer.issuer,
    trustDomain: issuer.trustDomain,
    aauthDomain: issuer.aauthDomain,
    issuerCaFile: issuer.caFile,
    tcti: tpm.tcti,
    pkcs11Module: agents.token.module,
    softhsm2Conf: agents.token.conf,
    tokenLabel: agents.token.tokenLabel,
    pinFile: daemon.pinFile,
    pids: {
      sandbox: process.pid,
      swtpm: tpm.pid,
      'agentkey-issuer': issuerProcess.pid,
      agentkeyd: daemonProcess.pid,
    },
    env,
  });
  console.log(
    `The sandbox is up: ${at('sandbox.json')}\nTPM and token are software. To use it from a shell:\n`,
  );
  console.log(`${env.join('\n')}\n\nCtrl-C ends it; started again on the same directory it keeps its keys.`);
}

/** Before anything is made: a Unix socket's path has room for 107 octets, and the longest of ours is known. */
function checkLength(dir: string, longestSocket: string): void {
  const excess = Buffer.byteLength(longestSocket) - MAX_SOCKET_PATH_OCTETS;
  if (excess > 0) {
    throw new RangeError(
      `${dir} is too long by ${excess} octets: ${longestSocket} would not fit into a socket address. Choose a shorter DIR`,
    );
  }
}

async function end(reason: string, exitCode: number): Promise<void> {
  if (ending) return;
  ending = true;
  say(reason);
  // It says that everything is up.
  await rm(join(dir, 'sandbox.json'), { force: true });
  for (const { name, stop } of running.toReversed()) {
    await stop().catch((thrown: unknown) => {
      say(`${name} did not stop: ${String(thrown)}`);
    });
  }
  process.exit(exitCode);
}

/** A token with a random PIN of its own, kept beside it. */
async function token(
  dir: string,
  label: string,
): Promise<{ readonly token: SofthsmToken; readonly pin: string }> {
  const pinFile = join(dir, 'pin');
  const known = await exists(pinFile);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const pin = known ? await readFile(pinFile, 'utf8') : randomBytes(12).toString('base64url');
  const options = { tokenLabel: label, userPin: pin, soPin: randomBytes(12).toString('base64url') };
  const made = await makeSofthsmToken(dir, options, known);
  await writeFile(pinFile, pin, { mode: 0o600 });
  return { token: made, pin };
}

/** SHA-256 of the P-256 EK's TPMT_PUBLIC: what an operator copies into hosts.toml. */
async function ekSha256(tpmDir: string): Promise<string> {
  const tpm2bPublic = await readFile(join(tpmDir, 'etc', 'ek.pub'));
  return createHash('sha256').update(tpm2bPublic.subarray(2)).digest('hex');
}

/** A free port on loopback, the same at the next start: the issuer's URL is in what was issued. */
async function keptPort(file: string): Promise<number> {
  if (await exists(file)) return Number(await readFile(file, 'utf8'));
  const port = await freePort();
  await mkdir(join(file, '..'), { recursive: true, mode: 0o700 });
  await writeFile(file, String(port));
  return port;
}

function say(text: string): void {
  process.stderr.write(`sandbox: ${text}\n`);
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => void end(`${signal}, ending`, 0));
}

const { dir, program } = readArguments();
try {
  await main({ dir, program });
} catch (thrown) {
  await end(thrown instanceof Error ? thrown.message : String(thrown), 1);
}

interface Arguments {
  readonly dir: string;
  /** In place of agentkeyd. */
  readonly program: string | undefined;
}

/** What the command line says; anything else than DIR and a program ends the process. */
function readArguments(): Arguments {
  try {
    const { values } = parseArgs({
      options: { dir: { type: 'string' }, daemon: { type: 'string' }, help: { type: 'boolean' } },
    });
    if (values.help === true) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    if (values.dir !== undefined && values.dir !== '') {
      return { dir: resolve(values.dir), program: values.daemon };
    }
  } catch (thrown) {
    say(thrown instanceof Error ? thrown.message : String(thrown));
  }
  process.stderr.write(USAGE);
  process.exit(2);
}
