/** The issuer's public pages, fetched as a stranger does: HTTPS, its CA, nothing of ours. */
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import type { SandboxDescription } from '../../scripts/sandbox/description.ts';

/** The body of a page of the sandbox's issuer. @param pathOrUrl `/path` or a whole URL */
export async function issuerPage(sandbox: SandboxDescription, pathOrUrl: string): Promise<string> {
  const ca = await readFile(sandbox.issuerCaFile, 'utf8');
  const url = new URL(pathOrUrl, sandbox.issuerUrl);
  return new Promise((resolve, reject) => {
    const asked = request(url, { ca, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${url.href}: ${String(response.statusCode)} ${text}`));
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`${url.href}: no answer`)));
    asked.on('error', reject);
    asked.end();
  });
}

export async function issuerJson<T>(sandbox: SandboxDescription, pathOrUrl: string): Promise<T> {
  return JSON.parse(await issuerPage(sandbox, pathOrUrl)) as T;
}
