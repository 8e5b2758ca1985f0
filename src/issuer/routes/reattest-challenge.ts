import { parse } from '../../wire/check.ts';
import { REATTEST_CHALLENGE_PATH, reattestRequest } from '../../wire/issuance/reattestation.ts';
import { authenticateHost, requireOwnAk } from '../host-authentication.ts';
import { networkOf } from '../http/network.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import { beginReattestation } from '../reattestation.ts';
import { countHost, type RouteContext } from './route-context.ts';

/** The first half of message B, signed by the host key. */
export function reattestChallengeRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: REATTEST_CHALLENGE_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const { akId } = parse(reattestRequest, parseBody(octets));
      const host = await authenticateHost(context, request, REATTEST_CHALLENGE_PATH, octets);
      countHost(limits, host, 'attest');
      requireOwnAk(host, akId);
      return privateJson(await beginReattestation(context, host, networkOf(request.socket.remoteAddress)));
    },
  };
}
