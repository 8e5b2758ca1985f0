import type { Caller } from '../caller/caller.ts';
import type { BegunRequest } from './begun-request.ts';
import type { RequestContext } from './route.ts';

/** What the path and the query of a request say. */
export interface RoutedParts {
  readonly agent: string;
  readonly approval: string;
  readonly query: Readonly<Record<string, string>>;
}

/**
 * What a handler is given of one request. A class, because `signal` is made only for who asks for it: an object
 * literal with a getter has a hidden class of its own each time, which V8 keeps until its next full collection,
 * and the whole request with it.
 */
export class RoutedContext implements RequestContext<unknown> {
  readonly agent: string;
  readonly approval: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly #begun: BegunRequest;

  constructor(begun: BegunRequest, { agent, approval, query }: RoutedParts, body: unknown) {
    this.agent = agent;
    this.approval = approval;
    this.query = query;
    this.body = body;
    this.#begun = begun;
  }

  get caller(): Caller {
    return this.#begun.caller;
  }

  get signal(): AbortSignal {
    return this.#begun.signal;
  }

  get connection(): AbortSignal {
    return this.#begun.connection;
  }
}
