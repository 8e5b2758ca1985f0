/** A daemon over a real TPM, enrolled with an issuer that grants its agents something. */
import { setTimeout as delay } from 'node:timers/promises';
import { SANDBOX_GRANT, type SandboxHost } from '../../scripts/sandbox/issuer.ts';
import { startDaemon, type TestDaemon, type TestDaemonOptions } from './daemon.ts';
import type { SocketAnswer } from './http-over-socket.ts';
import { IssuerFixture } from './issuer-fixture.ts';
import { startSwtpm, type TestSwtpm } from './swtpm.ts';
import { freePort } from '../../scripts/sandbox/free-port.ts';

export interface GrantedHostOptions extends Omit<TestDaemonOptions, 'tpm' | 'issuer' | 'start'> {
  /** `[host.grant]`. */
  readonly grant?: Readonly<Record<string, unknown>>;
}

export interface GrantedHost {
  readonly daemon: TestDaemon;
  readonly issuer: IssuerFixture;
  readonly tpm: TestSwtpm;
  /** Approves the host with this grant; agents get it with their next credentials. */
  approve(grant: Readonly<Record<string, unknown>>): Promise<void>;
  /** Makes an agent in the TPM and waits for its credentials; its id. */
  agent(name: string): Promise<string>;
  remove(): Promise<void>;
}

const READY_MS = 60_000;

export async function startGrantedHost(options: GrantedHostOptions = {}): Promise<GrantedHost> {
  const cleanUp: (() => Promise<void>)[] = [];
  const remove = async (): Promise<void> => {
    for (const step of cleanUp.splice(0).toReversed()) await step();
  };
  try {
    const tpm = await startSwtpm({ withEkCertificates: true });
    cleanUp.push(() => tpm.stop());
    const port = await freePort();
    const url = `https://localhost:${port}`;
    const issuer = await IssuerFixture.start({
      ca: tpm,
      change: (config) => ({ ...config, url, listen: { address: 'localhost', port } }),
    });
    cleanUp.push(() => issuer.stop());
    const daemon = await startDaemon({
      ...options,
      tpm,
      issuer: { url, caFile: issuer.sandbox.caFile },
    });
    cleanUp.push(() => daemon.remove());
    const ekSha256 = await endorsementKey(daemon);
    const approve = async (grant: Readonly<Record<string, unknown>>): Promise<void> => {
      const host: SandboxHost = {
        label: 'node-1',
        ekSha256,
        namePatterns: ['*'],
        principal: 'alice@example.test',
        grant,
      };
      await issuer.approve(host);
    };
    await approve(options.grant ?? SANDBOX_GRANT);
    const enrolled = await daemon.admin('POST', '/v1/host/enroll', {});
    if (enrolled.status !== 200) throw new Error(`no enrolment: ${enrolled.text}\n${daemon.log()}`);
    return {
      daemon,
      issuer,
      tpm,
      approve,
      agent: async (name) => {
        const made = await daemon.request('POST', '/v1/agents', { name, backend: 'tpm', algorithm: 'ES256' });
        if (made.status !== 201) throw new Error(`no agent: ${made.text}`);
        await until(() => daemon.request('GET', `/v1/agents/${name}/credentials`), hasGrant);
        return (made.json as { id: string }).id;
      },
      remove,
    };
  } catch (thrown) {
    await remove();
    throw thrown;
  }
}

/** Asks until the answer is as wanted. */
export async function until(
  ask: () => Promise<SocketAnswer>,
  isWanted: (answer: SocketAnswer) => boolean,
): Promise<SocketAnswer> {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    const answer = await ask();
    if (isWanted(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not in time; the last answer was ${answer.text}`);
    await delay(50);
  }
}

function hasGrant({ status, json }: SocketAnswer): boolean {
  return status === 200 && typeof (json as { grant?: unknown }).grant === 'string';
}

async function endorsementKey(daemon: TestDaemon): Promise<string> {
  const known = (answer: SocketAnswer): string | null =>
    (answer.json as { host?: { ekSha256: string | null } }).host?.ekSha256 ?? null;
  return (
    known(
      await until(
        () => daemon.request('GET', '/v1/status'),
        (answer) => known(answer) !== null,
      ),
    ) ?? ''
  );
}
