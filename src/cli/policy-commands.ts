/** `agentkey policy ...`: the set in force, and files of policies and cases without any daemon. */
import type { Command } from 'commander';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { addPolicyFileCommands } from './policy-file-commands.ts';
import { describe } from './table.ts';

type View = Readonly<Record<string, unknown>>;

export function addPolicyCommands(program: Command, streams: Streams): void {
  const policy = program
    .command('policy')
    .description('Policies: what is in force; check, test and explain files');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  policy
    .command('show')
    .description('The policy set in force (admin)')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => (await client.call('GET', '/v1/policy')) as View,
        describe,
      );
    });

  policy
    .command('reload')
    .description('Read the policy files anew; with a fault in any of them the former set stays (admin)')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => (await client.call('POST', '/v1/policy/reload', {})) as View,
        describe,
      );
    });

  addPolicyFileCommands(policy, streams);
}
