import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import express from 'express';
import { expect, test } from 'vitest';
import { createExpressServer } from '../../../src/socket/express-server.ts';
import { requestOverSocket } from '../../support/http-over-socket.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

test('requests and responses are express’s own before express sees them, so that it changes no prototype', async () => {
  const app = express();
  const server = createExpressServer(app, {});
  const born: object[] = [];
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    born.push(Object.getPrototypeOf(request) as object, Object.getPrototypeOf(response) as object);
  });
  app.get('/', (request, response) => {
    response.json({ path: request.path, same: Object.getPrototypeOf(request) === born[0] });
  });
  const temp = await makeTempDir();
  const path = join(temp.path, 's');
  server.listen(path);
  await once(server, 'listening');
  const answer = await requestOverSocket(path, 'GET', '/');
  expect(answer.json).toEqual({ path: '/', same: true });
  expect(born[0]).toBe(app.request);
  expect(born[1]).toBe(app.response);
  server.close();
  await temp.remove();
});
