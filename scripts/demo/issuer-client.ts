/** Plain HTTPS to the issuer, as anybody on the network can speak it. */
import { request } from 'node:https';

export interface IssuerAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export async function askIssuer(url: string, ca: string, body?: unknown): Promise<IssuerAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method: body === undefined ? 'GET' : 'POST',
        ca,
        minVersion: 'TLSv1.3',
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        agent: false,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            body: JSON.parse(text) as Readonly<Record<string, unknown>>,
          });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** A published document as it stands: a status list is a token and no JSON. */
export async function fetchPublished(url: string, ca: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    request(url, { ca, minVersion: 'TLSv1.3', agent: false, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${url} answered ${response.statusCode ?? 0}`));
      });
    })
      .on('error', reject)
      .end();
  });
}
