import { parse } from '../../wire/check.ts';
import { enrolEvidence, EVIDENCE_PATH } from '../../wire/issuance/enrolment.ts';
import { reattestEvidence } from '../../wire/issuance/reattestation.ts';
import { finishEnrolment } from '../enrolment.ts';
import { authenticateHost } from '../host-authentication.ts';
import { channelOf } from '../http/channel-binding.ts';
import { networkOf } from '../http/network.ts';
import { parseBody } from '../http/request-body.ts';
import { privateJson, type Route } from '../http/route.ts';
import { finishReattestation } from '../reattestation.ts';
import { countHost, type RouteContext } from './route-context.ts';

/** M3 to M4, and the second half of message B. Only M3 has a `proof`; the session must be of the same kind. */
export function evidenceRoute({ context, limits, readBody }: RouteContext): Route {
  return {
    method: 'post',
    path: EVIDENCE_PATH,
    handle: async (request) => {
      const octets = await readBody(request);
      const value = parseBody(octets);
      const channel = context.config.channelBinding;
      if (isObject(value) && Object.hasOwn(value, 'proof')) {
        limits.enrolments.take(networkOf(request.socket.remoteAddress));
        const evidence = parse(enrolEvidence, value);
        return privateJson(await finishEnrolment(context, evidence, channelOf(request, channel)));
      }
      const evidence = parse(reattestEvidence, value);
      const host = await authenticateHost(context, request, EVIDENCE_PATH, octets);
      countHost(limits, host, 'attest');
      return privateJson(await finishReattestation(context, host, evidence, channelOf(request, channel)));
    },
  };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
