/** What a route is: one path, one method, one handler; the assembly in app.ts does the rest. */
import type { Request } from 'express';
import type { STATUS_LIST_MEDIA_TYPE } from '../../wire/issuance/status.ts';

/** Rejects with KeydError; the assembly answers the problem. */
export type RouteHandler = (request: Request) => Promise<RouteAnswer>;

export interface RouteAnswer {
  readonly contentType:
    | 'application/json'
    | 'application/jwk-set+json'
    | 'application/x-pem-file'
    | typeof STATUS_LIST_MEDIA_TYPE;
  /** JSON value (octets become base64url) or text. */
  readonly body: unknown;
  /** Seconds that the answer may be cached; 0 for anything about one host. */
  readonly maxAgeSeconds: number;
}

export interface Route {
  readonly method: 'get' | 'post';
  readonly path: string;
  readonly handle: RouteHandler;
}

/** An answer to one host: JSON, never cached. */
export function privateJson(body: unknown): RouteAnswer {
  return { contentType: 'application/json', body, maxAgeSeconds: 0 };
}
