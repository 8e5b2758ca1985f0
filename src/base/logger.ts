/** Logs: one JSON object a line (pino), secrets removed by key before anything is written. */
import { pino, type Logger as PinoLogger } from 'pino';
import { KeydError } from '../wire/problem.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

type LogFields = Readonly<Record<string, unknown>>;

/** What rooms log through. Fields first, then a fixed sentence; data never goes into the sentence. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

export interface LoggerOptions {
  /** Program or room name, field `name` of every line. */
  readonly name: string;
  readonly level: LogLevel;
  /** Where lines go; standard error where left out (the journal keeps standard output apart). */
  readonly destination?: { write(line: string): void };
}

export function createLogger(options: LoggerOptions): Logger {
  const logger = pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    // Synchronous: a line written before a crash is on its way.
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  );
  return redacting(logger);
}

// pino runs its formatters over the fields of a line but not over a child's, so redaction is done here.
function redacting(logger: PinoLogger): Logger {
  return {
    debug: (fields, message) => {
      if (logger.isLevelEnabled('debug')) logger.debug(redact(fields), message);
    },
    info: (fields, message) => {
      logger.info(redact(fields), message);
    },
    warn: (fields, message) => {
      logger.warn(redact(fields), message);
    },
    error: (fields, message) => {
      logger.error(redact(fields), message);
    },
    child: (fields) => redacting(logger.child(redact(fields) as Record<string, unknown>)),
  };
}

/** A logger that writes nothing. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};

const REDACTED = '[redacted]';
const SECRET_KEY =
  /^(pin|pins|auth|secret|secrets|password|passphrase|proof|token|jwt|wit|cookie|authorization|d|p|q|salt|seed|blob)$|(secret|password|passphrase|token|pin|private_?key|key_?auth)$/i;
const MAX_DEPTH = 6;
const MAX_TEXT = 2048;

/** A copy fit for a log line: secrets removed by key, octets and long text shortened, errors unfolded with their causes. */
export function redact(value: unknown, depth = 0): unknown {
  if (value instanceof Error) return describeError(value, depth);
  if (value instanceof Uint8Array) return `[${value.length} octets]`;
  if (typeof value === 'string') {
    return value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}[${value.length - MAX_TEXT} more]` : value;
  }
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      SECRET_KEY.test(key) && member !== undefined ? REDACTED : redact(member, depth + 1),
    ]),
  );
}

function describeError(error: Error, depth: number): Record<string, unknown> {
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof KeydError ? { code: error.code } : { stack: error.stack }),
    ...(error.cause === undefined || depth >= MAX_DEPTH ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
