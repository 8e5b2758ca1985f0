/** Typed signing: one endpoint per type of thing that is signed. */
import type { Shape } from '../../wire/check.ts';
import {
  csrRequest,
  dpopRequest,
  httpMessageRequest,
  jwtRequest,
  rawRequest,
} from '../../wire/socket/signing.ts';
import { PendingApproval } from '../../policy/approval-desk.ts';
import { approvalView } from '../approval-view.ts';
import { ok, route, type AnyRoute, type Reply, type RequestContext } from '../route.ts';
import type { SigningApi } from '../services.ts';

// A repetition may get the stored signature only as long as the signature itself is good (S12): 60 s for
// messages and proofs, 5 min for a JWT (S4).
const MESSAGE_ANSWER_LIFE_MS = 60_000;
const JWT_ANSWER_LIFE_MS = 300_000;
/** People are slow. */
const POLL_SECONDS = '2';

export function signingRoutes(signing: SigningApi): readonly AnyRoute[] {
  return [
    sign('http-message', 'signHttpMessage', httpMessageRequest, MESSAGE_ANSWER_LIFE_MS, (context) =>
      signing.httpMessage(context.caller, context.agent, context.body, context.signal),
    ),
    sign('dpop', 'signDpop', dpopRequest, MESSAGE_ANSWER_LIFE_MS, (context) =>
      signing.dpop(context.caller, context.agent, context.body, context.signal),
    ),
    sign('jwt', 'signJwt', jwtRequest, JWT_ANSWER_LIFE_MS, (context) =>
      signing.jwt(context.caller, context.agent, context.body, context.signal),
    ),
    sign('csr', 'signCsr', csrRequest, MESSAGE_ANSWER_LIFE_MS, (context) =>
      signing.csr(context.caller, context.agent, context.body, context.signal),
    ),
    sign('raw', 'signRaw', rawRequest, MESSAGE_ANSWER_LIFE_MS, (context) =>
      signing.raw(context.caller, context.agent, context.body, context.signal),
    ),
  ];
}

function sign<B>(
  type: string,
  operation: string,
  body: Shape<B>,
  answerLifeMs: number,
  call: (context: RequestContext<B>) => Promise<unknown>,
): AnyRoute {
  return route<B>({
    method: 'POST',
    path: `/v1/agents/{agent}/sign/${type}`,
    operation,
    // Not on the admin socket: who operates the daemon does not thereby speak for its agents.
    on: ['shared', 'agent'],
    body,
    answerLifeMs,
    handle: async (context) => pendingOr(await call(context)),
  });
}

/** 202 and where to ask again, for what a person has to allow first. */
export function pendingOr(result: unknown): Reply {
  if (!(result instanceof PendingApproval)) return ok(result);
  const view = approvalView(result.approval);
  return {
    status: 202,
    json: { approval: view },
    headers: { location: `/v1/approvals/${view.id}`, 'retry-after': POLL_SECONDS },
  };
}
