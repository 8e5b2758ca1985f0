/** A plain HTTP client over Unix sockets that sends exactly what a test says, and raw octets if need be. */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';

export interface SocketAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined where it is no JSON. */
  readonly json: unknown;
}

export interface SocketRequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Octets or text sent as they are, instead of JSON of `body`. */
  readonly rawBody?: Uint8Array | string;
  readonly agent?: Agent;
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 30_000;

/** One request on a connection of its own, unless an `agent` keeps them. */
export async function requestOverSocket(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  options: SocketRequestOptions = {},
): Promise<SocketAnswer> {
  const content = options.rawBody ?? (body === undefined ? undefined : JSON.stringify(body));
  const octets = content === undefined ? undefined : Buffer.from(content);
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      socketPath,
      method,
      path,
      agent: options.agent ?? false,
      timeout: TIMEOUT_MS,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      headers: {
        ...(octets === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': octets.length }),
        ...options.headers,
      },
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
    outgoing.on('error', reject);
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
      });
    });
    outgoing.end(octets);
  });
}

/** Sends `octets` as they are and returns all that comes back until the other side closes or `waitMs` passes. */
export async function exchangeRaw(
  socketPath: string,
  octets: Uint8Array | string,
  { waitMs = 10_000, end = false }: { readonly waitMs?: number; readonly end?: boolean } = {},
): Promise<string> {
  const socket = await openSocket(socketPath);
  let text = '';
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), waitMs);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    // A reset after the answer is the other side's way of closing.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    socket.write(octets);
    if (end) socket.end();
  });
}

export async function openSocket(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

// Plain octets to a Unix socket and back, from a process of its own.
const RELAY = `
use strict; use Socket; local $/;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
syswrite($s, <STDIN>); my $answer = ''; while (sysread($s, my $more, 65536)) { $answer .= $more } print $answer;
`;

/** One request as another user; only root can. Answers 0 where the socket may not be connected to. */
export async function requestAs(
  uid: number,
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly json: unknown }> {
  const content = body === undefined ? '' : JSON.stringify(body);
  const child = spawn(
    'setpriv',
    [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'perl', '-e', RELAY, socketPath],
    { stdio: ['pipe', 'pipe', 'pipe'], timeout: TIMEOUT_MS },
  );
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(
    `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
      (content === ''
        ? '\r\n'
        : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`),
  );
  await new Promise((resolve) => child.on('close', resolve));
  const [head = '', text = ''] = Buffer.concat(chunks).toString().split('\r\n\r\n', 2);
  return { status: Number(head.split(' ')[1] ?? 0), json: parse(text) };
}
