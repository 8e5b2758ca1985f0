/** Reads a request's JSON: bounded in octets and time, strict, and only what says it is JSON. */
import type { IncomingMessage } from 'node:http';
import { fieldValues, trimOws, type FieldLine } from '../../wire/field-lines.ts';
import { KeydError } from '../../wire/problem.ts';
import { parseStrictJson } from '../../wire/strict-json.ts';

export const MAX_BODY_OCTETS = 256 * 1024;
const MAX_DEPTH = 16;

/** Header lines in the order they came, repetitions kept: node's own `headers` joins or drops some. */
export function headerLines(request: IncomingMessage): readonly FieldLine[] {
  const { rawHeaders } = request;
  return Array.from({ length: rawHeaders.length / 2 }, (_, index): FieldLine => [
    rawHeaders[2 * index] ?? '',
    rawHeaders[2 * index + 1] ?? '',
  ]);
}

/**
 * The octets of the body.
 * @throws KeydError `unsupported_media_type`, `body_too_large`, `request_timeout`, `malformed_request`
 */
export async function readBody(request: IncomingMessage, timeoutMs: number): Promise<Uint8Array> {
  checkContentFields(headerLines(request));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let total = 0;
    const timer = setTimeout(() => {
      fail(new KeydError('request_timeout', `the body did not arrive within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    const stop = (): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose);
    };
    const fail = (error: KeydError): void => {
      stop();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      total += chunk.length;
      if (total > MAX_BODY_OCTETS) fail(tooLarge());
      else chunks.push(chunk);
    };
    const onEnd = (): void => {
      stop();
      resolve(Buffer.concat(chunks));
    };
    const onClose = (): void => {
      fail(new KeydError('malformed_request', 'the connection ended before the body was complete'));
    };
    request.on('data', onData).on('end', onEnd).on('close', onClose);
  });
}

/** @throws KeydError `malformed_json` */
export function parseBody(body: Uint8Array): unknown {
  return parseStrictJson(body, { maxDepth: MAX_DEPTH, maxOctets: MAX_BODY_OCTETS });
}

function checkContentFields(lines: readonly FieldLine[]): void {
  const types = fieldValues(lines, 'content-type').map(trimOws);
  if (types.length !== 1 || !/^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i.test(types[0] ?? '')) {
    throw new KeydError('unsupported_media_type', 'the body must be application/json');
  }
  const encodings = fieldValues(lines, 'content-encoding').map(trimOws);
  if (encodings.some((encoding) => encoding.toLowerCase() !== 'identity')) {
    throw new KeydError('unsupported_media_type', 'the body must not be encoded');
  }
  const [length] = fieldValues(lines, 'content-length');
  if (length !== undefined && Number(length) > MAX_BODY_OCTETS) throw tooLarge();
}

function tooLarge(): KeydError {
  return new KeydError('body_too_large', `the body is larger than ${MAX_BODY_OCTETS} octets`);
}
