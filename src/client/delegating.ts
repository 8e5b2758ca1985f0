/** Asks the daemon for sub-agents. */
import type { AgentView } from '../wire/socket/agents.ts';
import { KeydError } from '../wire/problem.ts';
import type { DelegateReply, DelegationRequest } from '../wire/socket/delegations.ts';
import type { CallOptions, SocketTransport } from './socket-transport.ts';

/** What a sub-agent is given (docs/delegation.md). */
export interface DelegateOptions extends Omit<DelegationRequest, 'constraints' | 'ephemeral'> {
  /** More bounds than the parent's, or narrower ones; default none. The parent's hold in any case. */
  readonly constraints?: DelegationRequest['constraints'];
}

type Asked = DelegateOptions & { readonly ephemeral?: boolean };

/**
 * One request alone, several as a batch that is made as a whole or not at all.
 * @param path of the parent
 * @throws KeydError `conflict` where policy wants a person's approval first, and what the daemon says
 */
export async function askForSubAgents(
  transport: SocketTransport,
  path: string,
  asked: Asked | readonly Asked[],
  options: CallOptions,
): Promise<readonly [AgentView, ...AgentView[]]> {
  const isBatch = Array.isArray(asked);
  const body = isBatch ? { batch: asked.map(filled) } : filled(asked as Asked);
  const reply = (await transport.call('POST', `${path}/delegations`, body, options)) as
    DelegateReply | { readonly approval: { readonly id: string } };
  if ('approval' in reply) {
    throw new KeydError(
      'conflict',
      `policy wants a person to allow this first; it waits as approval ${reply.approval.id}`,
    );
  }
  const [first, ...more] = 'results' in reply ? reply.results : [reply];
  if (first === undefined) throw new KeydError('internal', 'the daemon answered without a sub-agent');
  return [first.agent, ...more.map(({ agent }) => agent)];
}

function filled(asked: Asked): Asked {
  return { constraints: [], ...asked };
}
