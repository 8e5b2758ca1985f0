/** From the octets of a request to its checked JSON body; every refusal names what is wrong. */
import type { IncomingMessage } from 'node:http';
import { parse, type Shape } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import type { RequestTicket } from './admission.ts';
import { MAX_JSON_DEPTH } from './limits.ts';

/** A body of none. */
export const NO_CONTENT: Uint8Array = new Uint8Array();

/** Fields that change how a request is read: more than one of them is a fault, never a choice. */
const SINGLE_FIELDS = new Set([
  'content-type',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'idempotency-key',
  'host',
  'expect',
]);
/** RFC 8259 §11 defines no parameters; `charset=utf-8` is common and harmless. */
const JSON_MEDIA_TYPE = /^application\/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?$/i;

/** Characters of target, names and values: what is kept of a header for as long as its request is. */
export function headOctets({ rawHeaders, url = '' }: IncomingMessage): number {
  let octets = url.length;
  for (const text of rawHeaders) octets += text.length;
  return octets;
}

/** @throws KeydError `malformed_request` where a field that must be single is repeated, `header_too_large` */
export function checkHeaderFields(request: IncomingMessage, maxFields: number): void {
  const { rawHeaders } = request;
  if (rawHeaders.length / 2 > maxFields) {
    throw new KeydError('header_too_large', `the header has more than ${maxFields} fields`);
  }
  let seen: Set<string> | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    if (!SINGLE_FIELDS.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) throw new KeydError('malformed_request', `the field ${name} is there twice`);
    seen.add(name);
  }
}

/** Whether the header announces content (RFC 9112 §6.3). */
export function hasContent(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  return coding !== undefined || (length !== undefined && length !== '0');
}

/** Content must be JSON as it stands. @throws KeydError `unsupported_media_type` */
export function checkMediaType(request: IncomingMessage): void {
  const { 'content-type': mediaType, 'content-encoding': coding } = request.headers;
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    throw new KeydError('unsupported_media_type', 'content-encoding is not accepted; send the JSON as it is');
  }
  if (mediaType === undefined || !JSON_MEDIA_TYPE.test(mediaType)) {
    throw new KeydError('unsupported_media_type', 'content-type must be application/json');
  }
}

/**
 * All octets of the body, at once where it has come; so are the errors thrown.
 * @throws KeydError `body_too_large`, `too_many_requests` (the caller's share is used up), `caller_gone`
 */
export function readBody(
  request: IncomingMessage,
  maxOctets: number,
  ticket: RequestTicket,
): Uint8Array | Promise<Uint8Array> {
  const announced = request.headers['content-length'];
  if (announced !== undefined && Number(announced) > maxOctets) throw tooLarge(maxOctets);
  return request.complete ? wholeBody(request, maxOctets, ticket) : comingBody(request, maxOctets, ticket);
}

/** Most bodies are there with their header by the time that their request is let in. */
function wholeBody(request: IncomingMessage, maxOctets: number, ticket: RequestTicket): Uint8Array {
  if (request.destroyed) throw new KeydError('caller_gone', 'the connection has ended');
  const body = joined(unread(request));
  if (body.length > maxOctets) throw tooLarge(maxOctets);
  ticket.addOctets(body.length);
  return body;
}

/** All that is there: since Node 26 each read() gives one chunk of it. */
function unread(request: IncomingMessage): readonly Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = request.read() as Uint8Array | null;
    if (chunk === null) return chunks;
    chunks.push(chunk);
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const [first = NO_CONTENT, ...others] = chunks;
  return others.length === 0 ? first : Buffer.concat(chunks);
}

async function comingBody(
  request: IncomingMessage,
  maxOctets: number,
  ticket: RequestTicket,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let octets = 0;
    let isSettled = false;
    // What comes after a refusal is read and dropped until the request's time is up.
    const refuse = (error: unknown): void => {
      isSettled = true;
      chunks.length = 0;
      reject(error instanceof Error ? error : new KeydError('internal', String(error)));
    };
    request.on('data', (chunk: Uint8Array) => {
      if (isSettled) return;
      octets += chunk.length;
      if (octets > maxOctets) {
        refuse(tooLarge(maxOctets));
        return;
      }
      try {
        ticket.addOctets(chunk.length);
      } catch (thrown) {
        refuse(thrown);
        return;
      }
      chunks.push(chunk);
    });
    request.on('end', () => {
      if (isSettled) return;
      isSettled = true;
      resolve(joined(chunks));
    });
    request.on('error', (cause: Error) => {
      if (!isSettled) refuse(new KeydError('caller_gone', 'the connection broke within the body', { cause }));
    });
    request.on('close', () => {
      if (!isSettled) refuse(new KeydError('caller_gone', 'the connection ended within the body'));
    });
  });
}

/** @throws KeydError `malformed_json`, `malformed_request` listing every fault */
export function parseBody<B>(octets: Uint8Array, shape: Shape<B>, maxOctets: number): B {
  return parse(shape, parseStrictJson(octets, { maxDepth: MAX_JSON_DEPTH, maxOctets }));
}

function tooLarge(maxOctets: number): KeydError {
  return new KeydError('body_too_large', `the body is larger than ${maxOctets} octets`);
}
