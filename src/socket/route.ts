/** A route as data: what OpenAPI describes, what is served where, and what answers. */
import type { Caller, Ingress } from '../caller/caller.ts';
import type { Shape } from '../wire/check.ts';

export type IngressKind = Ingress['kind'];

/** What a handler is given: everything checked, nothing of HTTP. */
export interface RequestContext<B> {
  readonly caller: Caller;
  /** `{agent}` of the path, id or name; empty where the path has none. */
  readonly agent: string;
  /** `{approval}` of the path, a UUID; empty where the path has none. */
  readonly approval: string;
  /** Query parameters that the route knows, each at most once. */
  readonly query: Readonly<Record<string, string>>;
  readonly body: B;
  /** Aborted when the caller has gone. */
  readonly signal: AbortSignal;
  /** Aborted when the connection closes, whether it was answered or not. */
  readonly connection: AbortSignal;
}

export type Reply =
  | {
      readonly status: number;
      readonly json: unknown;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | {
      readonly status: number;
      readonly text: string;
      readonly mediaType: string;
      readonly headers?: Readonly<Record<string, string>>;
    };

export interface Route<B> {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** OpenAPI path template; its parameters are `{agent}` and `{approval}`. */
  readonly path: string;
  /** OpenAPI operationId and label in metrics and logs. */
  readonly operation: string;
  /** The sockets that serve it; elsewhere it does not exist. */
  readonly on: readonly IngressKind[];
  /** Names of query parameters; any other is refused. */
  readonly query?: readonly string[];
  /** Shape of the JSON body; without it a body is refused. */
  readonly body?: Shape<B>;
  /** No body at all counts as `{}`. */
  readonly bodyOptional?: boolean;
  /** The call takes an Idempotency-Key; how long an answer is kept for a repetition. */
  readonly answerLifeMs?: number;
  readonly handle: (context: RequestContext<B>) => Promise<Reply>;
}

/** A route whose body type only its own shape and handler know. */
export type AnyRoute = Route<never>;

/** Forgets a route's body type; `body` and `handle` were checked against each other here. */
export function route<B = undefined>(definition: Route<B>): AnyRoute {
  return definition as unknown as AnyRoute;
}

export function ok(json: unknown): Reply {
  return { status: 200, json };
}
