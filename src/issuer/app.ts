/** The issuer as an express application: routes, and for everything else a problem document. */
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { toJson } from '../wire/json-octets.ts';
import { KeydError } from '../wire/problem.ts';
import { sendProblem } from './http/problem-response.ts';
import { readBody } from './http/request-body.ts';
import type { Route, RouteAnswer } from './http/route.ts';
import type { IssuerContext } from './issuer-context.ts';
import { enrolRoute } from './routes/enrol.ts';
import { evidenceRoute } from './routes/evidence.ts';
import { healthRoute, readyRoute } from './routes/health.ts';
import { issueChallengeRoute } from './routes/issue-challenge.ts';
import { issueRoute } from './routes/issue.ts';
import { jwksRoutes, x509BundleRoute } from './routes/keys.ts';
import { aauthMetadataRoute, metadataRoute } from './routes/metadata.ts';
import { reattestChallengeRoute } from './routes/reattest-challenge.ts';
import { statusIndicesRoute, statusListRoute, statusRevocationsRoute } from './routes/status.ts';
import { makeLimits, type RouteContext } from './routes/route-context.ts';

/** No route takes a query or needs an encoded character, so a target has one spelling. */
const PLAIN_TARGET = /^\/[A-Za-z0-9._/-]*$/;

export function createIssuerApp(context: IssuerContext): Express {
  const bodyTimeoutMs = context.config.limits.bodySeconds * 1000;
  const routeContext: RouteContext = {
    context,
    limits: makeLimits(context),
    readBody: (request) => readBody(request, bodyTimeoutMs),
  };
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.enable('strict routing');
  app.set('query parser', false);
  app.use(logRequest(context));
  app.use(requirePlainTarget);
  for (const route of routes(routeContext)) mount(app, route);
  app.use(() => {
    throw new KeydError('not_found', 'there is nothing at this path');
  });
  // Express tells an error handler by its four parameters.
  app.use((thrown: unknown, _request: Request, response: Response, next: NextFunction) => {
    // An answer that has begun can not become a problem: express ends the connection.
    if (response.headersSent) next(thrown);
    else sendProblem(response, thrown, context.logger);
  });
  return app;
}

function routes(routeContext: RouteContext): readonly Route[] {
  const { context } = routeContext;
  // What is asked for most comes first: express tries them in turn.
  return [
    issueChallengeRoute(routeContext),
    issueRoute(routeContext),
    enrolRoute(routeContext),
    evidenceRoute(routeContext),
    reattestChallengeRoute(routeContext),
    statusIndicesRoute(routeContext),
    statusRevocationsRoute(routeContext),
    statusListRoute(context),
    metadataRoute(context),
    aauthMetadataRoute(context),
    ...jwksRoutes(context),
    x509BundleRoute(context),
    healthRoute,
    readyRoute(context),
  ];
}

function mount(app: Express, { method, path, handle }: Route): void {
  app[method](path, async (request: Request, response: Response) => {
    sendAnswer(response, await handle(request));
  });
  app.all(path, (_request: Request, response: Response) => {
    response.set('allow', method.toUpperCase());
    throw new KeydError('method_not_allowed', `this path takes ${method.toUpperCase()}`);
  });
}

function sendAnswer(response: Response, { contentType, body, maxAgeSeconds }: RouteAnswer): void {
  const octets = Buffer.from(typeof body === 'string' ? body : JSON.stringify(toJson(body)));
  response.setHeader('cache-control', maxAgeSeconds === 0 ? 'no-store' : `max-age=${maxAgeSeconds}`);
  response.setHeader('content-type', contentType);
  response.setHeader('content-length', octets.length);
  response.end(octets);
}

function requirePlainTarget(request: Request, _response: Response, next: NextFunction): void {
  if (!PLAIN_TARGET.test(request.originalUrl)) {
    throw new KeydError('malformed_request', 'the request target must be a path without a query');
  }
  next();
}

function logRequest({ logger, nowMs }: IssuerContext) {
  return (request: Request, response: Response, next: NextFunction): void => {
    const startedMs = nowMs();
    const { method, originalUrl } = request;
    const from = request.socket.remoteAddress;
    response.on('close', () => {
      const fields = {
        method,
        path: originalUrl.slice(0, 256),
        status: response.statusCode,
        durationMs: nowMs() - startedMs,
        from,
      };
      if (response.statusCode >= 400) logger.info(fields, 'a request was refused');
      else logger.debug(fields, 'a request was answered');
    });
    next();
  };
}
