/** Asks the daemon for sub-agents. */
import type { AgentView } from '../wire/socket/agents.ts';
import { KeydError } from '../wire/problem.ts';
import type { DelegateReply, DelegationRequest } from '../wire/socket/delegations.ts';
import { callWithApproval, type SignOptions } from './approvals.ts';
import type { SocketTransport } from './socket-transport.ts';

/** What a sub-agent is given (docs/delegation.md). */
export interface DelegateOptions extends Omit<DelegationRequest, 'constraints' | 'ephemeral'> {
  /** More bounds than the parent's, or narrower ones; default none. The parent's hold in any case. */
  readonly constraints?: DelegationRequest['constraints'];
}

type Asked = DelegateOptions & { readonly ephemeral?: boolean };

/**
 * One request alone, several as a batch that is made as a whole or not at all.
 * @param path of the parent
 * @throws KeydError `approval_pending` where policy wants a person's approval first and nobody waits for it, and what the daemon says
 */
export async function askForSubAgents(
  transport: SocketTransport,
  path: string,
  asked: Asked | readonly Asked[],
  { intent, ...options }: SignOptions,
): Promise<readonly [AgentView, ...AgentView[]]> {
  const isBatch = Array.isArray(asked);
  const body = {
    ...(isBatch ? { batch: asked.map(filled) } : filled(asked as Asked)),
    ...(intent === undefined ? {} : { intent }),
  };
  const reply = (await callWithApproval(
    transport,
    'POST',
    `${path}/delegations`,
    body,
    options,
  )) as DelegateReply;
  const [first, ...more] = 'results' in reply ? reply.results : [reply];
  if (first === undefined) throw new KeydError('internal', 'the daemon answered without a sub-agent');
  return [first.agent, ...more.map(({ agent }) => agent)];
}

function filled(asked: Asked): Asked {
  return { constraints: [], ...asked };
}
