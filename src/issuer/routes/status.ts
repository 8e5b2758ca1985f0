import { parse } from '../../wire/check.ts';
import {
  parseListNumber,
  STATUS_INDICES_PATH,
  STATUS_LIST_MEDIA_TYPE,
  STATUS_LISTS_PATH,
  STATUS_REVOCATIONS_PATH,
  statusIndicesRequest,
  statusRevocationsRequest,
} from '../../wire/issuance/status.ts';
import { KeydError } from '../../wire/problem.ts';
import { authenticateHost } from '../host-authentication.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import type { IssuerContext } from '../issuer-context.ts';
import { countHost, type RouteContext } from './route-context.ts';

const MAX_AGE_SECONDS = 10;

/** Indices for links of the host's agents, signed by the host key. */
export function statusIndicesRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: STATUS_INDICES_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const { count } = parse(statusIndicesRequest, parseBody(octets));
      const host = await authenticateHost(context, request, STATUS_INDICES_PATH, octets);
      countHost(limits, host, 'allocate');
      return privateJson({ status: await context.statusLists.allocate(host, count) });
    },
  };
}

/** Revocation, signed by the host key; it has a share of its own, which nothing else uses up (S20). */
export function statusRevocationsRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: STATUS_REVOCATIONS_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const { status } = parse(statusRevocationsRequest, parseBody(octets));
      const host = await authenticateHost(context, request, STATUS_REVOCATIONS_PATH, octets);
      countHost(limits, host, 'revoke');
      const revoked = await context.statusLists.revoke(host, status);
      context.logger.info({ akId: host.akId, asked: status.length, revoked }, 'links were revoked');
      return privateJson({ revoked });
    },
  };
}

/** A list, for anybody. Mounted after the paths above, which it would match. */
export function statusListRoute({ statusLists }: IssuerContext): Route {
  return {
    method: 'get',
    path: `${STATUS_LISTS_PATH}/:list`,
    handle: async ({ params }) => {
      const { list: given } = params;
      const list = typeof given === 'string' ? parseListNumber(given) : undefined;
      if (list === undefined) throw new KeydError('not_found', 'there is no such status list');
      return {
        contentType: STATUS_LIST_MEDIA_TYPE,
        body: await statusLists.token(list),
        maxAgeSeconds: MAX_AGE_SECONDS,
      };
    },
  };
}
