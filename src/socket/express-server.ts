/** An http.Server whose requests and responses are express's own from birth. */
import { createServer, type Server, type ServerOptions } from 'node:http';
import type { Express } from 'express';
import { expressBorn } from '../base/express-born.ts';

export function createExpressServer(app: Express, options: ServerOptions): Server {
  return createServer({ ...options, ...expressBorn(app) }, app);
}
