/** Files of HTTP requests for the load generator. */
import { writeFile } from 'node:fs/promises';

export interface LoadRequest {
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
}

/** Writes the requests one after the other; the load generator sends them in this order, over and over. */
export async function writeRequests(file: string, requests: readonly LoadRequest[]): Promise<void> {
  await writeFile(file, requests.map(encode).join(''));
}

function encode({ method, path, body }: LoadRequest): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const head = [
    `${method} ${path} HTTP/1.1`,
    'host: agentkeyd',
    ...(body === undefined ? [] : ['content-type: application/json']),
    `content-length: ${Buffer.byteLength(text)}`,
  ];
  return `${head.join('\r\n')}\r\n\r\n${text}`;
}
