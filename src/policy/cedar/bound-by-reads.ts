/** Which parameters of a proof a policy's reads depend on (S3). */
import type { BoundParameter } from '../proposal.ts';
import type { Reads } from './reads.ts';

/**
 * Of the context's attributes, those that the request carries and a proof may leave out. All others are the
 * proof's own (profile, components, challenge), the daemon's facts, or the caller's word on record.
 */
const REQUEST_PARAMETERS: Readonly<Record<string, readonly BoundParameter[]>> = {
  method: ['method'],
  scheme: ['scheme'],
  host: ['authority'],
  port: ['authority', 'scheme'],
  origin: ['scheme', 'authority'],
  path: ['path'],
  pathSegments: ['path'],
  query: ['query'],
  mediaType: ['header:content-type'],
  hasBody: ['body'],
  body: ['body', 'header:content-type'],
  contentDigest: ['body'],
  authorization: ['access-token'],
  accessTokenHash: ['access-token'],
};

const CLAIM_PARAMETERS: ReadonlySet<string> = new Set(['typ', 'audience', 'claims']);
const SUBJECT_PARAMETERS: ReadonlySet<string> = new Set(['commonName', 'organization', 'uris', 'dnsNames']);

export interface Dependence {
  /** Of the HTTP request: any proof of a request, or that leads to one, must bind them. */
  readonly request: ReadonlySet<BoundParameter>;
  /** Of a JWT or CSR: only octets that nobody reads could be one in disguise. */
  readonly document: ReadonlySet<BoundParameter>;
}

export function dependenceOf(reads: Reads): Dependence {
  const request = new Set<BoundParameter>();
  const document = new Set<BoundParameter>();
  for (const attribute of reads.context) {
    if (Object.hasOwn(REQUEST_PARAMETERS, attribute)) {
      for (const parameter of REQUEST_PARAMETERS[attribute] ?? []) request.add(parameter);
    }
    if (CLAIM_PARAMETERS.has(attribute)) document.add('claims');
    if (SUBJECT_PARAMETERS.has(attribute)) document.add('subject');
  }
  for (const name of reads.tags.get('headers') ?? []) request.add(`header:${name}`);
  return { request, document };
}
