import { parse } from '../../wire/check.ts';
import { ISSUE_PATH, issueRequest } from '../../wire/issuance/issue.ts';
import { authenticateHost } from '../host-authentication.ts';
import { channelOf } from '../http/channel-binding.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import { finishIssuance } from '../issuing.ts';
import { countHost, type RouteContext } from './route-context.ts';

/** M7 to M8, signed by the host key. */
export function issueRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: ISSUE_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const issue = parse(issueRequest, parseBody(octets));
      const host = await authenticateHost(context, request, ISSUE_PATH, octets);
      countHost(limits, host, 'issue');
      limits.issuances.take(host.akId);
      const exporter = channelOf(request, context.config.channelBinding);
      return privateJson(await finishIssuance(context, host, issue, octets, exporter));
    },
  };
}
