/** From a routed request to its answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { KeydError } from '../wire/problem.ts';
import type { RequestGate } from './request-gate.ts';
import { begunRequest, type BegunRequest } from './begun-request.ts';
import { parseIdempotencyKey, type Idempotency, type StoredAnswer } from './idempotency.ts';
import { NO_CONTENT, checkMediaType, hasContent, parseBody, readBody } from './request-body.ts';
import { readQuery } from './query.ts';
import type { AnyRoute, Reply, RequestContext } from './route.ts';
import { RoutedContext } from './routed-context.ts';

export interface RouteServices extends RequestGate {
  readonly idempotency: Idempotency;
}

/** A request as express gives it; `{agent}` of the path is percent-decoded already. */
export interface RoutedRequest extends IncomingMessage {
  readonly params: Readonly<Record<string, string | string[]>>;
}

const NO_FIELDS: StoredAnswer['headers'] = {};
const NO_QUERY: readonly string[] = [];
const JSON_MEDIA_TYPE = 'application/json';
/** An id or a name; which of them, and whether it exists, the agent service says. */
const AGENT = /^[a-z0-9][a-z0-9._+-]{0,1023}$/;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @throws KeydError whatever the request or the service fails with */
export async function serveRoute(
  services: RouteServices,
  route: AnyRoute,
  request: RoutedRequest,
  response: ServerResponse,
): Promise<void> {
  const begun = begunRequest(request);
  begun.operation = route.operation;
  const query = readQuery(request.url ?? '', route.query ?? NO_QUERY);
  const agent = agentOf(request);
  const approval = approvalOf(request);
  const content = readContent(services, route, request, begun);
  const octets = content instanceof Promise ? await content : content;
  const context = new RoutedContext(begun, { agent, approval, query }, bodyOf(services, route, octets));
  const answer = await answerOf(
    services,
    route,
    request,
    octets,
    context as RoutedContext & RequestContext<never>,
  );
  if (services.ingress.kind === 'admin') {
    const { caller } = begun;
    services.logger.info(
      { operation: route.operation, agent, status: answer.status, caller },
      'admin call answered',
    );
  }
  send(services, response, answer);
}

function agentOf(request: RoutedRequest): string {
  const agent = request.params['agent'];
  if (agent === undefined) return '';
  if (typeof agent === 'string' && AGENT.test(agent)) return agent;
  throw new KeydError('invalid_name', 'the path names an agent by its id, or by a name as agents have them');
}

function approvalOf(request: RoutedRequest): string {
  const approval = request.params['approval'];
  if (approval === undefined) return '';
  if (typeof approval === 'string' && UUID.test(approval)) return approval;
  throw new KeydError('approval_not_found', 'the path names an approval by its UUID');
}

function readContent(
  { limits }: RouteServices,
  route: AnyRoute,
  request: RoutedRequest,
  { ticket }: BegunRequest,
): Uint8Array | Promise<Uint8Array> {
  if (!hasContent(request)) {
    if (route.body !== undefined && route.bodyOptional !== true) checkMediaType(request);
    return NO_CONTENT;
  }
  if (route.body === undefined) throw new KeydError('malformed_request', 'this call takes no body');
  checkMediaType(request);
  return readBody(request, limits.maxBodyOctets, ticket);
}

function bodyOf({ limits }: RouteServices, route: AnyRoute, octets: Uint8Array): unknown {
  if (route.body === undefined) return undefined;
  const given = octets.length === 0 && route.bodyOptional === true ? Buffer.from('{}') : octets;
  return parseBody<unknown>(given, route.body, limits.maxBodyOctets);
}

async function answerOf(
  { idempotency }: RouteServices,
  route: AnyRoute,
  request: RoutedRequest,
  body: Uint8Array,
  context: RequestContext<never>,
): Promise<StoredAnswer> {
  const header = request.headers['idempotency-key'];
  if (header === undefined) return toAnswer(await route.handle(context));
  if (route.answerLifeMs === undefined || typeof header !== 'string') {
    throw new KeydError('malformed_request', 'this call takes no idempotency-key');
  }
  const { caller, agent } = context;
  const { operation, answerLifeMs } = route;
  return idempotency.run(
    { caller, key: parseIdempotencyKey(header), operation, agent, body, answerLifeMs },
    async () => toAnswer(await route.handle(context)),
  );
}

function toAnswer(reply: Reply): StoredAnswer {
  const { status, headers = NO_FIELDS } = reply;
  return 'json' in reply
    ? { status, headers, body: JSON.stringify(reply.json), mediaType: JSON_MEDIA_TYPE }
    : { status, headers, body: reply.text, mediaType: reply.mediaType };
}

// node:http directly: express's send() computes what nobody here needs (ETag, freshness).
function send({ isDraining }: RouteServices, response: ServerResponse, answer: StoredAnswer): void {
  if (response.destroyed) return;
  // Names and values in turn: what node:http reads without making anything of it.
  const fields: (string | number)[] = ['cache-control', 'no-store'];
  if (answer.status !== 204) {
    fields.push('content-type', answer.mediaType, 'content-length', Buffer.byteLength(answer.body));
  }
  for (const name in answer.headers) fields.push(name, answer.headers[name] ?? '');
  if (isDraining()) fields.push('connection', 'close');
  response.writeHead(answer.status, fields);
  response.end(answer.body);
}
