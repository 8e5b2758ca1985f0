import { parse } from '../../wire/check.ts';
import { ENROL_PATH, enrolRequest } from '../../wire/issuance/enrolment.ts';
import { beginEnrolment } from '../enrolment.ts';
import { networkOf } from '../http/network.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import type { RouteContext } from './route-context.ts';

/** M1 to M2. Open to anyone; the evidence speaks for itself, attempts are counted by network. */
export function enrolRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: ENROL_PATH,
    handle: async (request) => {
      const network = networkOf(request.socket.remoteAddress);
      limits.enrolments.take(network);
      const body = parse(enrolRequest, parseBody(await readBody(request)));
      return privateJson(await beginEnrolment(context, body, network));
    },
  };
}
