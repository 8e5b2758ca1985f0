/** docs/openapi.yaml as something an answer can be held against. */
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

interface MediaTypes {
  readonly content?: Readonly<Record<string, { readonly schema: object; readonly example?: unknown }>>;
}

interface ResponseObject extends MediaTypes {
  readonly headers?: Readonly<Record<string, { readonly required?: boolean; readonly schema: object }>>;
}

export interface Operation {
  readonly operationId: string;
  readonly 'x-agentkeyd-sockets': readonly string[];
  readonly parameters?: readonly unknown[];
  readonly requestBody?: MediaTypes & { readonly required: boolean };
  readonly responses: Readonly<Record<string, unknown>>;
}

export interface Described {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const text = readFileSync(new URL('../../docs/openapi.yaml', import.meta.url), 'utf8');
export const document = parse(text, { strict: true, uniqueKeys: true }) as Document;

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const ID = 'https://agentkeyd.invalid/openapi';

const ajv = new Ajv2020({ strict: true, strictTypes: false, allErrors: true, validateFormats: true });
addFormats.default(ajv);
// The document itself is the schema that `#/components/...` points into.
ajv.addVocabulary(['openapi', 'info', 'servers', 'tags', 'paths', 'components', 'example']);
ajv.addSchema({ $id: ID, ...document });

/** Every operation of the document. */
export const described: readonly Described[] = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods)
    .filter(([method]) => METHODS.includes(method))
    .map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      operation: operation as Operation,
    })),
);

/** What is wrong with an answer to an operation, by the document; empty where it is as described. */
export function answerFaults(
  operationId: string,
  answer: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string | string[] | undefined>>;
    readonly text: string;
  },
): readonly string[] {
  const found = described.find(({ operation }) => operation.operationId === operationId);
  if (found === undefined) return [`${operationId} is not described`];
  const response = responseFor(found.operation, answer.status);
  if (response === undefined) return [`${operationId} has no answer ${answer.status}`];
  const faults: string[] = [];
  for (const [name, { required, schema }] of Object.entries(response.headers ?? {})) {
    const value = answer.headers[name];
    if (value === undefined) {
      if (required === true) faults.push(`the header ${name} is missing`);
    } else if (!compile(schema)(value)) faults.push(`the header ${name} is ${JSON.stringify(value)}`);
  }
  if (response.content === undefined) return answer.text === '' ? faults : [...faults, 'there is a body'];
  const mediaType = String(answer.headers['content-type']).split(';', 1)[0] ?? '';
  const described_ = response.content[mediaType];
  if (described_ === undefined) return [...faults, `the media type is ${mediaType}`];
  const body: unknown = mediaType.endsWith('json') ? JSON.parse(answer.text) : answer.text;
  const validate = compile(described_.schema);
  if (!validate(body))
    faults.push(...(validate.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`));
  return faults;
}

/** Whether a request body is as described. */
export function isDescribedBody(operation: Operation, body: unknown): boolean {
  const schema = operation.requestBody?.content?.['application/json']?.schema;
  return schema !== undefined && compile(schema)(body);
}

/** The example of a request body. */
export function exampleBody(operation: Operation): unknown {
  return operation.requestBody?.content?.['application/json']?.example;
}

function responseFor({ responses }: Operation, status: number): ResponseObject | undefined {
  const response = responses[String(status)] ?? responses[`${Math.floor(status / 100)}XX`];
  return response === undefined ? undefined : (resolve(response) as ResponseObject);
}

function resolve(node: unknown): unknown {
  const reference = (node as { readonly $ref?: string }).$ref;
  if (reference === undefined) return node;
  return reference
    .slice(2)
    .split('/')
    .reduce<unknown>((found, name) => (found as Readonly<Record<string, unknown>>)[name], document);
}

const compiled = new Map<object, ValidateFunction>();

function compile(schema: object): ValidateFunction {
  let validate = compiled.get(schema);
  if (validate === undefined) {
    validate = ajv.compile(absolute(schema) as object);
    compiled.set(schema, validate);
  }
  return validate;
}

/** References into the document, said absolutely. */
function absolute(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(absolute);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([name, value]) =>
      name === '$ref' ? [name, `${ID}${String(value)}`] : [name, absolute(value)],
    ),
  );
}
