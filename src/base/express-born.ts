/** Requests and responses that are express's own from birth. */
import { IncomingMessage, ServerResponse } from 'node:http';

/** What of an express application makes its requests and responses. */
interface Prototypes {
  request: object;
  response: object;
}

/** Options of `createServer`, of node:http or node:https. */
export interface BornClasses {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
}

/**
 * Express sets the prototype of every request and response, which makes V8 give up what it has learnt about
 * them. Objects that have the application's prototypes when they are made are left alone: three times the requests
 * a second. Classes, because V8 knows at once what `new` of one makes; `Reflect.construct` has it look that up.
 */
export function expressBorn(app: Prototypes): BornClasses {
  class BornRequest extends IncomingMessage {}
  class BornResponse<R extends IncomingMessage = IncomingMessage> extends ServerResponse<R> {}
  Object.setPrototypeOf(BornRequest.prototype, app.request);
  Object.setPrototypeOf(BornResponse.prototype, app.response);
  app.request = BornRequest.prototype;
  app.response = BornResponse.prototype;
  return { IncomingMessage: BornRequest, ServerResponse: BornResponse };
}
