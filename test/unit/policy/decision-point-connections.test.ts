/** The connections to an external decision point, and who is at their other end. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeTls } from '../../../scripts/sandbox/tls.ts';
import { PERMIT } from '../../support/decision-point.ts';
import { httpMessage } from '../../support/policy-request.ts';
import { stay } from '../../support/signing-fixture.ts';
import { ask, client, FREE, log, said, server, temp, tls } from '../../support/decision-point-client.ts';

describe('connections', () => {
  it('are kept, and one that was closed meanwhile costs nobody a denial', async () => {
    const point = await server();
    const asking = client({ url: point.url });
    for (let turn = 0; turn < 5; turn += 1) expect(said(await ask(asking))).toBe('permit');
    expect(point.connections).toBe(1);
    // The server closes a connection just as the next question is on its way over it.
    let closings = 0;
    point.answer = (response, asked) => {
      if (closings === 0) {
        closings += 1;
        response.socket?.resetAndDestroy();
      } else PERMIT(response, asked);
    };
    expect(said(await ask(asking))).toBe('permit');
    expect([closings, point.connections]).toEqual([1, 2]);
  });

  it('S20: are bounded, and those of one caller leave room for another', async () => {
    const point = await server();
    const asking = client({ url: point.url });
    const waiting: (() => void)[] = [];
    const full = new Promise<void>((resolve) => {
      point.answer = (response, asked) => {
        waiting.push(() => {
          PERMIT(response, asked);
        });
        if (waiting.length === 32) resolve();
      };
    });
    const flood = Array.from({ length: 100 }, () => ask(asking));
    await full;
    const other = asking.ask(httpMessage({}, { caller: { uid: 2000 } }), FREE, stay());
    point.answer = PERMIT;
    for (const answer of waiting) answer();
    expect(said(await other)).toBe('permit');
    expect((await Promise.all(flood)).every(({ permitted }) => permitted)).toBe(true);
    expect(point.connections).toBeLessThanOrEqual(32);
    const place = point.asked.findIndex(({ json: { subject } }) => subject.id === '2000');
    expect(place).toBeLessThan(64);
  });

  it('go to a Unix socket', async () => {
    const socketPath = join(temp.path, 'pdp.sock');
    const point = await server({ socketPath });
    const asking = client({ url: 'http://localhost/access/v1/evaluation', socketPath });
    expect(said(await ask(asking))).toBe('permit');
    expect(point.asked[0]).toMatchObject({ method: 'POST', url: '/access/v1/evaluation' });
    expect(point.asked[0]?.headers).toMatchObject({ host: 'localhost', 'content-type': 'application/json' });
    expect(point.asked[0]?.headers.authorization).toBeUndefined();
  });

  it('carry the token, and no log does', async () => {
    const point = await server();
    const token = randomBytes(16).toString('hex');
    const asking = client({ url: point.url, token });
    expect(said(await ask(asking))).toBe('permit');
    expect(point.asked[0]?.headers.authorization).toBe(`Bearer ${token}`);
    point.answer = (response) => response.writeHead(401).end(token);
    expect(said(await ask(asking))).toBe('decision_point_invalid');
    expect(log).not.toBe('');
    expect(log).not.toContain(token);
  });
});

describe('TLS', () => {
  const files = async () => ({
    cert: await readFile(tls.certificateFile, 'utf8'),
    key: await readFile(tls.keyFile, 'utf8'),
    ca: await readFile(tls.caFile, 'utf8'),
  });

  it('needs the CA that is configured, and the name', async () => {
    const { ca, ...own } = await files();
    const point = await server({ tls: own });
    expect(said(await ask(client({ url: point.url, ca })))).toBe('permit');
    expect(said(await ask(client({ url: point.url })))).toBe('decision_point_unavailable');
    await mkdir(join(temp.path, 'other'));
    const other = await readFile((await makeTls(join(temp.path, 'other'))).caFile, 'utf8');
    expect(said(await ask(client({ url: point.url, ca: other })))).toBe('decision_point_unavailable');
    // A certificate for localhost is none for this address.
    const elsewhere = await server({ tls: own, address: '127.0.0.2' });
    expect(said(await ask(client({ url: elsewhere.url, ca })))).toBe('decision_point_unavailable');
    expect([elsewhere.connections, elsewhere.asked.length, point.asked.length]).toEqual([1, 0, 1]);
  });

  it('is not weakened by the environment', async () => {
    const { cert, key } = await files();
    const point = await server({ tls: { cert, key } });
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect(said(await ask(client({ url: point.url })))).toBe('decision_point_unavailable');
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
  });

  it('is 1.2 or later', async () => {
    const { ca, ...own } = await files();
    const twelve = await server({ tls: { ...own, maxVersion: 'TLSv1.2' } });
    expect(said(await ask(client({ url: twelve.url, ca })))).toBe('permit');
    const eleven = await server({
      tls: { ...own, maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' },
    });
    expect(said(await ask(client({ url: eleven.url, ca })))).toBe('decision_point_unavailable');
  });
});
