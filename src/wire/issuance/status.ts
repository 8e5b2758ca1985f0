/** Token status lists (draft-ietf-oauth-status-list): where others learn that a link was revoked (S18). */
import { array, integer, object, text, type Infer } from '../check.ts';

/** Below it are the lists by number; they are public. */
export const STATUS_LISTS_PATH = '/v1/status';
/** A host gets indices for links of its agents, and revokes them. Both are signed by the host key. */
export const STATUS_INDICES_PATH = '/v1/status/indices';
export const STATUS_REVOCATIONS_PATH = '/v1/status/revocations';

export const STATUS_LIST_TYP = 'statuslist+jwt';
export const STATUS_LIST_MEDIA_TYPE = 'application/statuslist+jwt';
/** Of one request. */
export const MAX_STATUS_REFERENCES = 100;

/** As a token has it in `status.status_list`. */
export const statusReference = object({
  idx: integer({ min: 0, max: 2 ** 31 }),
  uri: text({ maxLength: 512, pattern: /^https:\/\/[\x21-\x7e]+$/ }),
});
export type StatusReference = Infer<typeof statusReference>;

const references = array(statusReference, { min: 1, max: MAX_STATUS_REFERENCES });

export const statusIndicesRequest = object({ count: integer({ min: 1, max: MAX_STATUS_REFERENCES }) });
export const statusIndicesAnswer = object({ status: references });

export const statusRevocationsRequest = object({ status: references });
/** How many are revoked now that were not before. */
export const statusRevocationsAnswer = object({ revoked: integer({ min: 0, max: MAX_STATUS_REFERENCES }) });

/** @param issuerUrl where hosts and verifiers reach the issuer, without a path */
export function statusListUri(issuerUrl: string, list: number): string {
  return `${issuerUrl}${STATUS_LISTS_PATH}/${list}`;
}

/** Number of the list at a URI of this issuer, undefined for any other URI. */
export function statusListNumber(issuerUrl: string, uri: string): number | undefined {
  const prefix = `${issuerUrl}${STATUS_LISTS_PATH}/`;
  return uri.startsWith(prefix) ? parseListNumber(uri.slice(prefix.length)) : undefined;
}

/** One spelling: no sign, no leading zero. */
export function parseListNumber(text: string): number | undefined {
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}
