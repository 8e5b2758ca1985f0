/** Express middleware: a route behind it runs only for verified requests, on the octets that were verified. */
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import { WPT_HEADER } from '../wire/credential-claims.ts';
import type { FieldLine } from '../wire/field-lines.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import { settlementHeaders, type SettledAnswer } from './settlement.ts';
import type { VerifiedRequest, Verifier } from './verifier.ts';

export interface AgentAuthOptions {
  /** Longest content that is read; default 1 MiB. */
  readonly maxBodyOctets?: number;
}

interface Verified {
  readonly request: VerifiedRequest;
  readonly body: Uint8Array;
}

const verifiedRequests = new WeakMap<Request, Verified>();
const MAX_JSON_DEPTH = 32;

/**
 * Middleware that reads the content itself, verifies the request, and answers `application/problem+json` where it
 * does not hold. Mount it before any body parser: a parsed body can no longer be compared with its digest.
 */
export function agentAuth(verifier: Verifier, options: AgentAuthOptions = {}): RequestHandler {
  const maxBodyOctets = options.maxBodyOctets ?? 1024 * 1024;
  return (request, response, next) => {
    authenticate(verifier, request, maxBodyOctets).then(
      (verified) => {
        verifiedRequests.set(request, verified);
        next();
      },
      (thrown: unknown) => {
        sendProblem(request, response, asKeydError(thrown));
      },
    );
  };
}

/** Who sent this request and what was verified. @throws KeydError `internal` on a route without `agentAuth` */
export function verifiedRequest(request: Request): VerifiedRequest {
  return verified(request).request;
}

/** The verified content, octets. @throws KeydError `internal` on a route without `agentAuth` */
export function verifiedBody(request: Request): Uint8Array {
  return verified(request).body;
}

/**
 * The verified content as strict JSON: no duplicate members, no number that a double would change (S7).
 * @throws KeydError `unsupported_media_type`, `malformed_json`
 */
export function verifiedJson(request: Request): unknown {
  const type = request.headers['content-type'] ?? '';
  const coding = request.headers['content-encoding'];
  if (
    !/^application\/json *(?:; *charset=utf-8 *)?$/i.test(type) ||
    (coding !== undefined && coding !== 'identity')
  ) {
    throw new KeydError(
      'unsupported_media_type',
      'the content must be application/json in UTF-8, not encoded',
    );
  }
  const body = verifiedBody(request);
  return parseStrictJson(body, { maxDepth: MAX_JSON_DEPTH, maxOctets: body.length });
}

/**
 * Answers a verified request with JSON, and with the resource's signed word on what it has cost. Compression behind it
 * would make the content another one.
 * @throws KeydError `internal` on a route without `agentAuth`, and those of `settlementHeaders`
 */
export function sendSettled(
  request: Request,
  response: Response,
  answer: Pick<SettledAnswer, 'key' | 'cost'> & { readonly status?: number; readonly json: unknown },
): void {
  verified(request);
  const { key, cost, json, status = 200 } = answer;
  const body = Buffer.from(JSON.stringify(json));
  const requestSignature = String(request.headers['signature']);
  response.status(status).type('application/json');
  response.set(settlementHeaders({ key, requestSignature, status, body, cost }));
  response.send(body);
}

/**
 * Error middleware that answers KeydErrors of routes, such as `verifiedJson`'s, as `application/problem+json` and
 * leaves all others to the next handler.
 */
export const problemHandler: ErrorRequestHandler = (thrown: unknown, request, response, next) => {
  if (thrown instanceof KeydError && !response.headersSent) sendProblem(request, response, thrown);
  else next(thrown);
};

async function authenticate(verifier: Verifier, request: Request, maxBodyOctets: number): Promise<Verified> {
  const body = await contentOf(request, maxBodyOctets);
  const verified = await verifier.verify({
    method: request.method,
    url: request.originalUrl,
    headers: fieldLines(request.rawHeaders),
    body,
    remoteAddress: request.socket.remoteAddress,
  });
  return { request: verified, body };
}

async function contentOf(request: Request, maxOctets: number): Promise<Uint8Array> {
  const given: unknown = request.body;
  // Left by express.raw(), which must run with inflate: false.
  if (given instanceof Uint8Array) return given;
  if (given !== undefined || request.readableEnded) {
    throw new KeydError('internal', 'a body parser ran before agentAuth; its content can not be verified');
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop must not destroy the request: its socket still has to carry the refusal.
  const stream = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > maxOctets)
      throw new KeydError('body_too_large', `the content is longer than ${maxOctets} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Node's flat list of names and values as field lines; HTTP/2's `:authority` stands for Host. */
function fieldLines(raw: readonly string[]): readonly FieldLine[] {
  const lines: FieldLine[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const value = raw[index + 1] ?? '';
    if (name === ':authority') lines.push(['host', value]);
    else if (!name.startsWith(':')) lines.push([name, value]);
  }
  return lines;
}

function verified(request: Request): Verified {
  const found = verifiedRequests.get(request);
  if (found === undefined) throw new KeydError('internal', 'agentAuth does not guard this route');
  return found;
}

function sendProblem(request: Request, response: Response, error: KeydError): void {
  // The rest of a refused content is not read.
  if (!request.readableEnded) response.set('connection', 'close');
  // The WIMSE drafts say 400: with 401 a client would look for WWW-Authenticate and answer by Authorization.
  const status = error.status === 401 && isWimse(request) ? 400 : error.status;
  if (status === 401) response.set('accept-signature', 'sig=("@method" "@target-uri");created;nonce;keyid');
  if (error.retryAfterSeconds !== undefined) response.set('retry-after', String(error.retryAfterSeconds));
  const problem = { ...error.toProblem(), status };
  response.status(status).type('application/problem+json').send(JSON.stringify(problem));
}

function isWimse({ headers }: Request): boolean {
  return (
    /(?:^|[,\s])wimse=/.test(String(headers['signature-input'] ?? '')) || headers[WPT_HEADER] !== undefined
  );
}
