/** A running daemon as a subject: agents, the requests that load it, its CPU time. */
import { request } from 'node:http';
import { join } from 'node:path';
import type { Measurement, Sample } from '../harness/measurement.ts';
import { cpuBetween, processCpu } from '../harness/process-cpu.ts';
import { writeRequests, type LoadRequest } from '../harness/requests.ts';
import { runRaw } from '../harness/run-raw.ts';

export interface DaemonSubject {
  /** `full`, `bare`: part of the measurements' names. */
  readonly name: string;
  readonly socket: string;
  readonly pid: number;
}

const ORIGIN = 'https://bench.example';

/** What each kind of signature is asked for. */
const REQUESTS = {
  'http-message': {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: `${ORIGIN}/payments`,
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{"amount":0.01,"payee":"acme"}').toString('base64url'),
  },
  dpop: { htm: 'GET', htu: `${ORIGIN}/read` },
  jwt: { typ: 'bench+jwt', claims: { aud: ORIGIN, task: 'bench' } },
  raw: { message: Buffer.alloc(64, 7).toString('base64url') },
} as const;

export type BenchOperation = keyof typeof REQUESTS;

/** Payments of so many different amounts. */
const AMOUNTS = 100;
/** Of an agent whose policy reads the amount: more than Cedar's answers are remembered. */
const ASKED_AMOUNTS = 20_000;

/** What one connection after the other asks for, over and over. */
function signRequests(agent: string, operation: BenchOperation): readonly LoadRequest[] {
  const asked = signRequest(agent, operation);
  if (operation !== 'http-message') return [asked];
  return Array.from({ length: agent.startsWith('asked-') ? ASKED_AMOUNTS : AMOUNTS }, (_, cents) => {
    const text = JSON.stringify({ amount: (cents + 1) / 100, payee: 'acme' });
    const body = Buffer.from(text).toString('base64url');
    return { ...asked, body: { ...REQUESTS['http-message'], body } };
  });
}

export function signRequest(agent: string, operation: BenchOperation): LoadRequest {
  return { method: 'POST', path: `/v1/agents/${agent}/sign/${operation}`, body: REQUESTS[operation] };
}

/** Creates an agent. @throws Error with the problem document */
export async function createAgent(
  subject: DaemonSubject,
  name: string,
  backend: 'tpm' | 'pkcs11',
  algorithm: string,
): Promise<void> {
  await call(subject.socket, 'POST', '/v1/agents', { name, backend, algorithm });
}

/** Load on one agent over `connections`. */
export function daemonLoad(
  programs: string,
  dir: string,
  subject: DaemonSubject,
  agent: string,
  operation: BenchOperation,
  connections: number,
): Measurement {
  const name = `${subject.name} ${agent} ${operation} c${connections}`;
  return {
    name,
    async run(seconds) {
      const file = join(dir, `${name.replaceAll(' ', '-')}.http`);
      await writeRequests(file, signRequests(agent, operation));
      return loadWith(programs, subject, file, { connections, seconds });
    },
  };
}

export interface Load {
  readonly connections: number;
  readonly seconds: number;
  /** Ends earlier after so many requests. */
  readonly maxRequests?: number;
}

/** Sends the requests of `file`, and tells what CPU time they took on either side. */
export async function loadWith(
  programs: string,
  { socket, pid }: Pick<DaemonSubject, 'socket' | 'pid'>,
  file: string,
  { connections, seconds, maxRequests }: Load,
): Promise<Sample & { readonly requests: number }> {
  const before = processCpu(pid);
  const args = [socket, file, connections, seconds, ...(maxRequests === undefined ? [] : [maxRequests])];
  const sample = await runRaw(programs, 'http_load', args);
  const { ownUs, childrenUs } = cpuBetween(before, processCpu(pid));
  return { ...sample, serverCpuUs: ownUs / sample.requests, hostCpuUs: childrenUs / sample.requests };
}

/** CPU of the daemon and its module hosts per request. */
export function daemonCpuUs({ serverCpuUs = Number.NaN, hostCpuUs = Number.NaN }: Sample): number {
  return serverCpuUs + hostCpuUs;
}

/** One call over the socket. @throws Error unless the answer is a success */
export function call(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        socketPath,
        method,
        path,
        headers: text === undefined ? {} : { 'content-type': 'application/json' },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const received = Buffer.concat(chunks).toString();
          if ((answer.statusCode ?? 500) >= 300) reject(new Error(`${method} ${path}: ${received}`));
          else resolve(received === '' ? undefined : JSON.parse(received));
        });
      },
    );
    asked.on('error', reject);
    asked.end(text);
  });
}
