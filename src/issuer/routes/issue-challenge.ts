import { parse } from '../../wire/check.ts';
import { ISSUE_CHALLENGE_PATH, issueChallengeRequest } from '../../wire/issuance/issue.ts';
import { authenticateHost, requireOwnAk } from '../host-authentication.ts';
import { networkOf } from '../http/network.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import { beginIssuance } from '../issuing.ts';
import { countHost, type RouteContext } from './route-context.ts';

/** M5 to M6, signed by the host key. */
export function issueChallengeRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: ISSUE_CHALLENGE_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const { akId, req } = parse(issueChallengeRequest, parseBody(octets));
      const host = await authenticateHost(context, request, ISSUE_CHALLENGE_PATH, octets);
      countHost(limits, host, 'issue');
      requireOwnAk(host, akId);
      return privateJson(await beginIssuance(context, host, req, networkOf(request.socket.remoteAddress)));
    },
  };
}
