/** The signature base of HTTP Message Signatures (RFC 9421 §2.5): what is signed, octet for octet. */
import { combinedFieldValue, isToken, type FieldLine } from './field-lines.ts';
import { KeydError } from './problem.ts';
import { queryParameterValue } from './query-parameter.ts';
import {
  serializeBareItem,
  serializeInnerList,
  serializeItem,
  serializeMember,
  serializeParameters,
  type SfParameters,
} from './structured-fields.ts';
import type { TargetUri } from './target-uri.ts';

/** A covered component: `@method`, `@query-param` with its `name`, or a lower-case field name. */
export interface SignatureComponent {
  readonly name: string;
  readonly parameters: SfParameters;
}

/** A request, as far as components can name it. */
export interface SignedRequest {
  /** Case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  readonly target: TargetUri;
  readonly headers: readonly FieldLine[];
}

/** A response, with the request it answers where components carry `;req`. */
export interface SignedResponse {
  readonly status: number;
  readonly headers: readonly FieldLine[];
  readonly request?: SignedRequest;
}

export type SignedMessage = SignedRequest | SignedResponse;

/** In the order they are written, e.g. `[['created', 1618884473], ['keyid', 'abc']]` (RFC 9421 §2.3). */
export type SignatureParameters = SfParameters;

const DERIVED_REQUEST = new Set([
  '@method',
  '@target-uri',
  '@authority',
  '@scheme',
  '@request-target',
  '@path',
  '@query',
  '@query-param',
]);

/** A component without parameters. */
export function component(name: string, parameters: SfParameters = []): SignatureComponent {
  return { name, parameters };
}

/** A component identifier as it stands in the base and in Signature-Input, e.g. `"@query-param";name="Pet"`. */
export function componentIdentifier(item: SignatureComponent): string {
  return serializeItem({ value: item.name, parameters: item.parameters });
}

/** The value of `@signature-params`: the inner list of components and its parameters (RFC 9421 §2.3). */
export function signatureParams(
  components: readonly SignatureComponent[],
  parameters: SignatureParameters,
): string {
  const items = components.map(({ name, parameters: own }) => ({ value: name, parameters: own }));
  return serializeInnerList(items, parameters);
}

/** The `Signature-Input` value for one label. */
export function signatureInputField(
  label: string,
  components: readonly SignatureComponent[],
  parameters: SignatureParameters,
): string {
  return serializeMember(label, signatureParams(components, parameters));
}

/** The `Signature` value for one label. */
export function signatureField(label: string, signature: Uint8Array): string {
  return serializeMember(label, serializeBareItem(signature));
}

/**
 * The signature base (RFC 9421 §2.5), ASCII, lines joined by LF, without one at the end.
 * @throws KeydError `invalid_component` for a component that is unknown, repeated or does not fit the message,
 *   `invalid_header` for a covered field that is absent or has a line break
 */
export function signatureBase(
  components: readonly SignatureComponent[],
  parameters: SignatureParameters,
  message: SignedMessage,
): string {
  const lines: string[] = [];
  const seen = new Set<string>();
  for (const item of components) {
    const identifier = componentIdentifier(item);
    const key = sameFor(item);
    if (seen.has(key)) refuse(`${identifier} is covered twice`);
    seen.add(key);
    lines.push(`${identifier}: ${componentValue(item, message)}`);
  }
  lines.push(`"@signature-params": ${signatureParams(components, parameters)}`);
  const base = lines.join('\n');
  if (lines.some((line) => line.includes('\n')) || !/^[\x09\x0a\x20-\x7e]*$/.test(base)) {
    refuse('a component value has a line break or a character outside ASCII');
  }
  return base;
}

/** RFC 9421 §2: the order of a component's parameters does not make it another component. */
function sameFor({ name, parameters }: SignatureComponent): string {
  if (parameters.length === 0) return name;
  return name + serializeParameters([...parameters].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function componentValue(item: SignatureComponent, message: SignedMessage): string {
  const { req, name, rest } = splitParameters(item);
  let source = message;
  if (req) {
    // RFC 9421 §2.4: only a response can point at its request.
    if (!('status' in message)) return refuse(`${componentIdentifier(item)} has req outside a response`);
    if (message.request === undefined) return refuse(`${componentIdentifier(item)} needs the request`);
    source = message.request;
  }
  if (!item.name.startsWith('@')) {
    checkFieldName(item.name);
    if (rest.length > 0 || name !== undefined) {
      // sf, bs, key and tr are never needed by a profile; a parameter that is ignored would change the meaning.
      return refuse(`${componentIdentifier(item)} has a parameter that is not supported here`);
    }
    return combinedFieldValue(source.headers, item.name);
  }
  if (rest.length > 0 || (name !== undefined && item.name !== '@query-param')) {
    return refuse(`${componentIdentifier(item)} has a parameter that does not belong to it`);
  }
  return derivedValue(item, name, source);
}

interface ComponentParameters {
  readonly req: boolean;
  readonly name: string | undefined;
  readonly rest: readonly string[];
}

const NO_PARAMETERS: ComponentParameters = { req: false, name: undefined, rest: [] };

function splitParameters(item: SignatureComponent): ComponentParameters {
  if (item.parameters.length === 0) return NO_PARAMETERS;
  let req = false;
  let name: string | undefined;
  const rest: string[] = [];
  for (const [key, value] of item.parameters) {
    if (key === 'req' && value === true) req = true;
    else if (key === 'name' && typeof value === 'string') name = value;
    else rest.push(key);
  }
  return { req, name, rest };
}

function derivedValue(item: SignatureComponent, name: string | undefined, message: SignedMessage): string {
  if ('status' in message) {
    if (item.name !== '@status') return refuse(`${item.name} does not exist in a response`);
    if (!Number.isInteger(message.status) || message.status < 100 || message.status > 599) {
      return refuse(`${message.status} is no HTTP status`);
    }
    return String(message.status);
  }
  if (!DERIVED_REQUEST.has(item.name)) return refuse(`${item.name} is no component of a request`);
  const { target } = message;
  switch (item.name) {
    case '@method':
      return isToken(message.method) ? message.method : refuse('the method is no token');
    case '@target-uri':
      return target.canonical;
    case '@authority':
      return target.authority;
    case '@scheme':
      return target.scheme;
    case '@request-target':
      // Origin form (RFC 9112 §3.2.1), the only one our parties send.
      return target.query === undefined ? target.path : `${target.path}?${target.query}`;
    case '@path':
      return target.path;
    case '@query':
      // RFC 9421 §2.2.7: with its leading "?", and a lone "?" where there is no query.
      return `?${target.query ?? ''}`;
    default:
      if (name === undefined) return refuse('@query-param needs its name');
      return queryParameterValue(target.query ?? '', name);
  }
}

function checkFieldName(name: string): void {
  if (!isToken(name)) refuse(`${JSON.stringify(name)} is no field name`);
  if (name !== name.toLowerCase()) refuse(`the field name ${name} must be lower case (RFC 9421 §2.1)`);
}

function refuse(reason: string): never {
  throw new KeydError('invalid_component', reason);
}
