/** The express application of one socket: a request is identified, admitted, routed, read and answered. */
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { KeydError } from '../wire/problem.ts';
import { beginRequest } from './begin-request.ts';
import type { RequestGate } from './request-gate.ts';
import { answerFailure } from './failure.ts';
import type { AnyRoute } from './route.ts';
import { serveRoute, type RouteServices } from './serve-route.ts';

export interface SocketAppOptions extends RequestGate, RouteServices {
  /** Those for other sockets are left out. */
  readonly routes: readonly AnyRoute[];
}

export function createSocketApp(options: SocketAppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  app.set('case sensitive routing', true);
  app.set('strict routing', true);
  app.use(async (request: Request, response: Response, next: NextFunction) => {
    await beginRequest(options, request, response);
    next();
  });
  const routes = options.routes.filter((route) => route.on.includes(options.ingress.kind));
  for (const [path, methods] of Map.groupBy(routes, (route) => route.path)) {
    mountPath(app, options, path, methods);
  }
  app.use(() => {
    throw new KeydError('not_found', 'there is nothing at this path on this socket');
  });
  // Express knows an error handler by its four parameters.
  app.use((thrown: unknown, request: Request, response: Response, next: NextFunction) => {
    answerFailure(options, request, response, thrown).catch(next);
  });
  return app;
}

function mountPath(app: Express, services: RouteServices, path: string, methods: readonly AnyRoute[]): void {
  const allow = methods.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ');
  app.all(path.replace(/\{(agent|approval)\}/g, ':$1'), async (request: Request, response: Response) => {
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const route = methods.find((candidate) => candidate.method === method);
    if (route === undefined) {
      response.setHeader('allow', allow);
      throw new KeydError('method_not_allowed', `this resource has ${allow}`);
    }
    await serveRoute(services, route, request, response);
  });
}
