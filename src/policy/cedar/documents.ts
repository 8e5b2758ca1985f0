/** The documents of one request, each read at most once and only if a policy asks for it. */
import { canonicalJson } from '../../wire/jcs.ts';
import { fieldValues, trimOws } from '../../wire/field-lines.ts';
import type { HttpMessageParameters } from '../proposal.ts';
import type { JudgedParameters } from '../verdict.ts';
import { NO_MEMBERS, readJson, readQuery, type Members, type Unreadable } from './members.ts';

export type DocumentName = 'body' | 'query' | 'claims';

export class RequestDocuments {
  readonly #parameters: JudgedParameters;
  readonly #read = new Map<DocumentName, Members | Unreadable>();

  constructor(parameters: JudgedParameters) {
    this.#parameters = parameters;
  }

  /** Empty where the operation has no such document. */
  get(name: DocumentName): Members | Unreadable {
    const known = this.#read.get(name);
    if (known !== undefined) return known;
    const document = read(name, this.#parameters);
    this.#read.set(name, document);
    return document;
  }
}

function read(name: DocumentName, parameters: JudgedParameters): Members | Unreadable {
  if (name === 'claims') {
    return parameters.operation === 'jwt' ? readJson(canonicalJson(parameters.claims)) : NO_MEMBERS;
  }
  if (parameters.operation !== 'http-message') return NO_MEMBERS;
  return name === 'query' ? readQuery(parameters.target.query) : readBody(parameters);
}

/** `application/json`, alone or with the only charset that RFC 8259 §8.1 knows. */
const JSON_CONTENT_TYPE = /^application\/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?$/i;

/** A body rule is about JSON as it will be executed: no other type, charset or coding (S7). */
function readBody({ content, headers }: HttpMessageParameters): Members | Unreadable {
  if (content.kind === 'none') return NO_MEMBERS;
  if (content.kind === 'digest') return { unreadable: 'is known by its digest only' };
  const [type, ...more] = fieldValues(headers, 'content-type').map(trimOws);
  if (type === undefined || more.length > 0 || !JSON_CONTENT_TYPE.test(type)) {
    return { unreadable: `is ${type ?? 'of no declared type'}, not application/json in UTF-8` };
  }
  const coding = fieldValues(headers, 'content-encoding').map(trimOws);
  if (coding.some((value) => value.toLowerCase() !== 'identity')) {
    return { unreadable: `is coded as ${coding.join(', ')}` };
  }
  return readJson(content.octets);
}
