import type { Caller } from '../caller/caller.ts';
import { asKeydError } from '../wire/problem.ts';
import type { Authorizer } from './authorize.ts';
import type { ActionRequest } from './proposal.ts';
import type { Recorder } from './recorder.ts';

export interface ActionGate {
  readonly authorizer: Authorizer;
  readonly recorder: Recorder;
}

/**
 * Does `act` if policy lets this caller, with the decision recorded before and the outcome after.
 * @throws KeydError the refusal, or what `act` throws
 */
export async function requireAction<T>(
  gate: ActionGate,
  caller: Caller,
  request: ActionRequest,
  act: () => Promise<T>,
): Promise<T> {
  const { decision, refusal } = await gate.authorizer.authorizeAction(caller, request);
  const record = await gate.recorder.decision({
    caller,
    decision,
    action: request.action,
    ...('agent' in request ? { agent: request.agent } : {}),
    parameters: describeAction(request),
    ...(refusal === undefined ? {} : { refusal: refusal.code }),
  });
  if (refusal !== undefined) throw refusal;
  try {
    const result = await act();
    record.outcome({ effect: 'done' });
    return result;
  } catch (thrown) {
    record.outcome({ effect: 'failed', code: asKeydError(thrown).code });
    throw thrown;
  }
}

function describeAction(request: ActionRequest): Readonly<Record<string, string | number>> {
  switch (request.action) {
    case 'agent-create':
      return {
        name: request.name,
        backend: request.backend,
        algorithm: request.algorithm,
        ownerUid: request.ownerUid,
      };
    case 'agent-rotate':
      return { reason: request.reason };
    case 'approval-decide':
      return { approval: request.approval, decision: request.decision };
    case 'host-quote':
      return { audience: request.audience, pcrs: request.pcrs.join(',') };
    case 'budget-settle':
      return { reservation: request.reservation, by: request.by, claim: request.claim };
    case 'budget-top-up':
      return { unit: request.unit, amount: String(request.amount) };
    default:
      return {};
  }
}
