/** `agentkey approvals ...`: what waits for a person, the person's word, and the answer for whoever asked. */
import type { Command } from 'commander';
import type { AgentKeyClient, ApprovalView } from '../client/index.ts';
import { KeydError } from '../wire/problem.ts';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { approvalOptions, withWait, type SignFlags } from './sign-options.ts';
import { describe, table } from './table.ts';

export function addApprovalCommands(program: Command, streams: Streams): void {
  const approvals = program
    .command('approvals')
    .description('What a person has to allow before it is signed');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  approvals
    .command('list')
    .description('Those that wait; with --all also those that are over (admin)')
    .option('--all', 'of the last seven days')
    .action(async (flags: { readonly all?: boolean }, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => {
          const all = await listed(client);
          return { approvals: flags.all === true ? all : all.filter(({ state }) => state === 'pending') };
        },
        ({ approvals: found }) =>
          found.length === 0
            ? 'nothing waits for a person'
            : table(['ID', 'STATE', 'AGENT', 'OPERATION', 'UNTIL', 'WHAT'], found.map(row)),
      );
    });

  approvals
    .command('show')
    .description('One of them (admin)')
    .argument('<id>')
    .action(async (id: string, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => {
          const found = (await listed(client)).find((approval) => approval.id === id);
          if (found !== undefined) return found;
          throw new KeydError('approval_not_found', 'there is no such approval');
        },
        (approval) => describe({ ...approval, charges: charges(approval) }),
      );
    });

  for (const decision of ['allow', 'deny'] as const) {
    approvals
      .command(decision)
      .description(
        decision === 'allow'
          ? 'Allow it once; not by whoever asked, nor from the same unit, container or session (admin)'
          : 'Deny it (admin)',
      )
      .argument('<id>')
      .action(async (id: string, _flags: object, command: Command) => {
        await run(
          globals(command),
          streams,
          'admin',
          async (client) =>
            (await client.call(
              'POST',
              `/v1/approvals/${encodeURIComponent(id)}/${decision}`,
              {},
            )) as ApprovalView,
          ({ state, agent, operation }) => `${operation} of ${agent} is ${state}`,
        );
      });
  }

  withWait(
    approvals
      .command('collect')
      .description('The answer to what you asked for, once it is allowed; it is given once')
      .argument('<id>'),
  ).action(async (id: string, flags: SignFlags, command: Command) => {
    // For a program in any case: headers, a proof, a JWT, whatever was asked for.
    await run(
      { ...globals(command), json: true },
      streams,
      'shared',
      async (client) => client.collectApproval(id, approvalOptions(flags, streams)),
      String,
    );
  });
}

async function listed(client: AgentKeyClient): Promise<readonly ApprovalView[]> {
  const { approvals } = (await client.call('GET', '/v1/approvals')) as {
    readonly approvals: readonly ApprovalView[];
  };
  return approvals;
}

function row(approval: ApprovalView): readonly string[] {
  const { id, state, agent, operation, expiresAt, summary } = approval;
  const { method, origin, path } = summary;
  const what = [method, typeof origin === 'string' && typeof path === 'string' ? origin + path : undefined];
  const cost = charges(approval);
  return [
    id,
    state,
    agent,
    operation,
    expiresAt,
    [...what.filter((part) => typeof part === 'string'), ...(cost === '' ? [] : [`(${cost})`])].join(' '),
  ];
}

function charges({ charges: all }: ApprovalView): string {
  return all.map(({ unit, amount }) => `${amount} ${unit}`).join(', ');
}
