/** `[policy.decision_point]` of agentkeyd.toml, and the decision point it describes. */
import { readFileSync } from 'node:fs';
import { AuthzenDecisionPoint, type AuthzenOptions } from '../policy/authzen/authzen-decision-point.ts';
import { DOCUMENT_NAMES, type DocumentName } from '../policy/authzen/sent-documents.ts';
import { UNSHOWN_HEADERS } from '../policy/cedar/tagged-context.ts';
import {
  array,
  integer,
  object,
  oneOf,
  optional,
  refine,
  text,
  type Infer,
  type Shape,
} from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import { readSecretText, type SecretSource } from './config-host.ts';

export interface DecisionPointConfig {
  readonly url: string;
  readonly socketPath: string | undefined;
  readonly caFile: string | undefined;
  readonly token: SecretSource | undefined;
  readonly deadlineMs: number;
  readonly documents: readonly DocumentName[];
  readonly headers: readonly string[];
}

/** Where AuthZEN has the Access Evaluation API unless a decision point's metadata says otherwise. */
const EVALUATION_PATH = '/access/v1/evaluation';
const DEFAULT_DEADLINE_MS = 250;
const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost']);

const headerName: Shape<string> = refine(
  text({ maxLength: 128, pattern: /^[a-z0-9!#$%&'*+.^_`|~-]+$/, what: 'a field name in lower case' }),
  (name) => (UNSHOWN_HEADERS.has(name) ? 'holds secrets or tokens, and is never sent' : undefined),
);

/** Shapes that need this machine: a readable file, a path that fits a socket address, a secret. */
interface HostShapes {
  readonly readable: Shape<string>;
  readonly socketPath: Shape<string>;
  readonly secret: Shape<SecretSource>;
}

export function decisionPointShape({ readable, socketPath, secret }: HostShapes) {
  const members = object({
    url: optional(refine(text({ maxLength: 512 }), urlFault)),
    socket: optional(socketPath),
    ca_file: optional(readable),
    token: optional(secret),
    deadline_ms: optional(integer({ min: 1, max: 10_000 })),
    /** Whose members are sent; all where it is left out. */
    documents: optional(array(oneOf(DOCUMENT_NAMES), { max: DOCUMENT_NAMES.length })),
    /** Header fields that are sent where the signature covers them; none where it is left out. */
    headers: optional(array(headerName, { max: 64 })),
  });
  const shape: Shape<Infer<typeof members>> = (value, path, faults) => {
    const before = faults.length;
    const given = members(value, path, faults);
    if (faults.length > before) return given;
    const { url, socket, ca_file: caFile } = given;
    const isTls = url?.startsWith('https:') === true;
    if (url === undefined && socket === undefined) faults.push(`${path} must have url, socket or both`);
    if (socket !== undefined && isTls) faults.push(`${path}.url must be http where there is a socket`);
    if (caFile !== undefined && !isTls) faults.push(`${path}.ca_file is of use with an https url only`);
    return given;
  };
  return shape;
}

/** Why text is no URL of a decision point: https, or http to this machine. */
function urlFault(given: string): string | undefined {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const isGood =
    url !== undefined &&
    (url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname)));
  return isGood && url.username === '' && url.password === '' && !given.includes('#')
    ? undefined
    : 'must be an https URL, or http to a loopback address, without credentials and fragment';
}

/** With what is left out filled in. */
export function decisionPointConfig(
  given: Infer<ReturnType<typeof decisionPointShape>>,
): DecisionPointConfig {
  const url = new URL(given.url ?? 'http://localhost');
  if (url.pathname === '/') url.pathname = EVALUATION_PATH;
  return {
    url: url.href,
    socketPath: given.socket,
    caFile: given.ca_file,
    token: given.token,
    deadlineMs: given.deadline_ms ?? DEFAULT_DEADLINE_MS,
    documents: given.documents ?? DOCUMENT_NAMES,
    headers: given.headers ?? [],
  };
}

/** RFC 6750 §2.1. */
const BEARER_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** Undefined where none is configured. @throws KeydError `configuration_invalid` for a CA or a token that can not be read */
export function openDecisionPoint(
  config: DecisionPointConfig | undefined,
  parts: Pick<AuthzenOptions, 'host' | 'measured' | 'log'>,
): AuthzenDecisionPoint | undefined {
  if (config === undefined) return undefined;
  const { url, socketPath, caFile, deadlineMs, documents, headers } = config;
  parts.log.info({ url, socketPath, deadlineMs }, 'an external decision point is asked as well');
  return new AuthzenDecisionPoint({
    ...parts,
    endpoint: {
      url,
      socketPath,
      ca: caFile === undefined ? undefined : readCa(caFile),
      token: config.token === undefined ? undefined : readToken(config.token),
    },
    deadlineMs,
    sent: { documents: new Set(documents), headers },
  });
}

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${path} can not be read`, { cause });
  }
}

function readToken({ path }: SecretSource): string {
  const token = readSecretText(path).toString('latin1');
  if (BEARER_TOKEN.test(token)) return token;
  throw new KeydError('configuration_invalid', `${path} holds no bearer token (RFC 6750 §2.1)`);
}
