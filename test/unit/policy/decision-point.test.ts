/** The external decision point against a server that does everything wrong in turn: only a plain yes permits. */
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { MAX_ANSWER_OCTETS } from '../../../src/policy/authzen/evaluation-answer.ts';
import { DENY, json, PERMIT, startDecisionPoint, type Answer } from '../../support/decision-point.ts';
import { ask, client, log, measured, said, SECRET, server } from '../../support/decision-point-client.ts';

describe('an answer', () => {
  const head = (status: number, headers: Readonly<Record<string, string>>, text = ''): Answer => {
    return (response) => response.writeHead(status, headers).end(text);
  };
  const body =
    (text: string, type?: string): Answer =>
    (response) => {
      json(response, text, type);
    };
  const raw = (write: (response: ServerResponse) => void): Answer => write;

  it.each<[string, string, Answer]>([
    ['yes', 'permit', PERMIT],
    ['yes in UTF-8', 'permit', body('{"decision":true}', 'application/json; charset=utf-8')],
    ['yes with a context', 'permit', body('{"decision":true,"context":{"id":"7","obligations":[]}}')],
    [
      'yes in pieces',
      'permit',
      raw((response) => {
        inPieces(response, '{"decision": true}');
      }),
    ],
    ['no', 'decision_point_denied', DENY],
    ['yes as text', 'decision_point_invalid', body('{"decision":"true"}')],
    ['yes as a number', 'decision_point_invalid', body('{"decision":1}')],
    ['yes under another name', 'decision_point_invalid', body('{"Decision":true}')],
    ['nothing', 'decision_point_invalid', body('')],
    ['an empty object', 'decision_point_invalid', body('{}')],
    ['true alone', 'decision_point_invalid', body('true')],
    ['a list', 'decision_point_invalid', body('[{"decision":true}]')],
    ['no and yes', 'decision_point_invalid', body('{"decision":false,"decision":true}')],
    ['yes and no, escaped', 'decision_point_invalid', body('{"decision":true,"d\\u0065cision":false}')],
    ['a member more', 'decision_point_invalid', body('{"decision":true,"advice":[]}')],
    ['a context that is none', 'decision_point_invalid', body('{"decision":true,"context":"x"}')],
    [
      'obligations',
      'decision_point_invalid',
      body('{"decision":true,"context":{"obligations":[{"id":"redact"}]}}'),
    ],
    [
      'another request’s',
      'decision_point_invalid',
      head(200, { 'content-type': 'application/json', 'x-request-id': 'x' }, '{"decision":true}'),
    ],
    [
      'its own request’s',
      'permit',
      (response, { headers }) => {
        response.setHeader('x-request-id', headers['x-request-id'] ?? '');
        json(response, '{"decision":true}');
      },
    ],
    ['two documents', 'decision_point_invalid', body('{"decision":true}{"decision":true}')],
    ['a byte order mark', 'decision_point_invalid', body('\uFEFF{"decision":true}')],
    ['half a document', 'decision_point_invalid', body('{"decision":true')],
    ['nesting without end', 'decision_point_invalid', body('['.repeat(30_000))],
    ['text/plain', 'decision_point_invalid', body('{"decision":true}', 'text/plain')],
    ['no type', 'decision_point_invalid', head(200, {}, '{"decision":true}')],
    ['JSON of another kind', 'decision_point_invalid', body('{"decision":true}', 'application/problem+json')],
    [
      'another charset',
      'decision_point_invalid',
      body('{"decision":true}', 'application/json;charset=utf-16'),
    ],
    [
      'compression',
      'decision_point_invalid',
      head(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }, '{"decision":true}'),
    ],
    ['201', 'decision_point_invalid', head(201, { 'content-type': 'application/json' }, '{"decision":true}')],
    ['204', 'decision_point_invalid', head(204, { 'content-type': 'application/json' })],
    ['400', 'decision_point_invalid', head(400, { 'content-type': 'application/json' }, '{"decision":true}')],
    ['401', 'decision_point_invalid', head(401, { 'content-type': 'application/json' }, '{"decision":true}')],
    ['429', 'decision_point_unavailable', head(429, {}, 'later')],
    [
      '500',
      'decision_point_unavailable',
      head(500, { 'content-type': 'application/json' }, '{"decision":true}'),
    ],
    [
      '101',
      'decision_point_unavailable',
      raw((response) => {
        upgrade(response);
      }),
    ],
    [
      'more than its bound, announced',
      'decision_point_invalid',
      body(`{"decision":true${' '.repeat(MAX_ANSWER_OCTETS)}}`),
    ],
    [
      'more than its bound, unannounced',
      'decision_point_invalid',
      raw((response) => {
        endless(response);
      }),
    ],
    ['a header without end', 'decision_point_unavailable', head(200, { x: 'x'.repeat(60_000) })],
    [
      'a cut off body',
      'decision_point_unavailable',
      raw((response) => {
        truncated(response);
      }),
    ],
    [
      'a cut off chunk',
      'decision_point_unavailable',
      raw((response) => {
        cutChunk(response);
      }),
    ],
    ['a reset', 'decision_point_unavailable', raw((response) => response.socket?.resetAndDestroy())],
    ['no HTTP', 'decision_point_unavailable', raw((response) => response.socket?.end('hello\r\n\r\n'))],
  ])('%s', async (_what, expected, answer) => {
    const point = await server();
    point.answer = answer;
    const asking = client({ url: point.url });
    expect(said(await ask(asking))).toBe(expected);
    // Whatever it was, the next question is another one.
    point.answer = PERMIT;
    expect(said(await ask(asking))).toBe('permit');
    expect(log).not.toContain(SECRET);
  });

  it('that sends elsewhere is not followed', async () => {
    const elsewhere = await server();
    const point = await server();
    for (const status of [301, 302, 303, 307, 308]) {
      point.answer = head(status, { location: elsewhere.url });
      expect(said(await ask(client({ url: point.url })))).toBe('decision_point_invalid');
    }
    expect(elsewhere.asked).toEqual([]);
  });
});

describe('no answer', () => {
  it.each<[string, Answer]>([
    ['silence', () => undefined],
    [
      'silence after the header',
      (response) => response.writeHead(200, { 'content-type': 'application/json' }).write('{"decision": '),
    ],
    [
      'early hints only',
      (response) => {
        response.writeEarlyHints({ link: '</x>; rel=preload' });
      },
    ],
  ])('%s denies at the deadline', async (_what, answer) => {
    const point = await server();
    point.answer = answer;
    const opinion = await ask(client({ url: point.url, deadlineMs: 100 }));
    expect(said(opinion)).toBe('decision_point_unavailable');
    expect(!opinion.permitted && opinion.refusal.message).toMatch(/within 100 ms/);
    expect(measured).toEqual(['failed']);
  });

  it('a server that is not there denies at once', async () => {
    const point = await startDecisionPoint();
    await point.stop();
    expect(said(await ask(client({ url: point.url })))).toBe('decision_point_unavailable');
  });

  it('a caller that goes away withdraws the question', async () => {
    const point = await server();
    const abort = new AbortController();
    const closed = new Promise((resolve) => {
      point.answer = (response) => {
        response.on('close', resolve);
        abort.abort();
      };
    });
    expect(said(await ask(client({ url: point.url }), abort.signal))).toBe('caller_gone');
    await closed;
    expect(measured).toEqual(['withdrawn']);
    expect(log).toBe('');
  });

  it('a question after the end is refused', async () => {
    const point = await server();
    const asking = client({ url: point.url });
    await asking.close();
    expect(said(await ask(asking))).toBe('shutting_down');
    expect(point.asked).toEqual([]);
  });

  it('is told once in the log, and its end as well', async () => {
    const point = await server();
    const asking = client({ url: point.url });
    point.answer = (response) => response.writeHead(500).end();
    for (let turn = 0; turn < 3; turn += 1) await ask(asking);
    point.answer = PERMIT;
    for (let turn = 0; turn < 3; turn += 1) await ask(asking);
    const lines = log.trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(['warn', 'info']);
    expect(measured).toEqual(['failed', 'failed', 'failed', 'permit', 'permit', 'permit']);
  });
});

function inPieces(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  for (const character of text) response.write(character);
  response.end();
}

function upgrade(response: ServerResponse): void {
  response.socket?.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{"decision":true}',
  );
}

function endless(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' }).write('{"decision":true');
  const more = (): void => {
    while (!response.destroyed && response.write(' '.repeat(8192)));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}

function truncated(response: ServerResponse): void {
  response.socket?.end(
    'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"decision":true}',
  );
}

function cutChunk(response: ServerResponse): void {
  response.socket?.end(
    'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{"decision":true}',
  );
}
