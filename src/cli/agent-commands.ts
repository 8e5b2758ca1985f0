/** `agentkey agent ...`: create, list, show, rotate, retire, export; delegation is beside it. */
import { Option, type Command } from 'commander';
import type { AgentView } from '../client/index.ts';
import { ALGORITHMS, type Algorithm } from '../wire/algorithms.ts';
import { wholeNumber } from './arguments.ts';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { addDelegationCommands } from './delegation-commands.ts';
import { describe, table } from './table.ts';

interface CreateFlags {
  readonly backend: 'tpm' | 'pkcs11';
  readonly algorithm: Algorithm;
  readonly admin?: boolean;
  readonly owner?: number;
}

export function addAgentCommands(program: Command, streams: Streams): void {
  const agent = program.command('agent').description('Agents and their hardware keys');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  agent
    .command('create')
    .description('Make an agent with a new key in hardware')
    .argument('<name>', 'lower-case letters, digits, ".", "_", "-"; never reused')
    .addOption(
      new Option('--backend <kind>', 'where the key lives').choices(['tpm', 'pkcs11']).default('tpm'),
    )
    .addOption(new Option('--algorithm <alg>', 'JOSE algorithm').choices(ALGORITHMS).default('ES256'))
    .addOption(
      new Option('--owner <uid>', 'uid that may use it (with --admin); default your own').argParser(
        wholeNumber,
      ),
    )
    .option('--admin', 'create over the admin socket')
    .action(async (name: string, flags: CreateFlags, command: Command) => {
      await run(
        globals(command),
        streams,
        flags.admin === true ? 'admin' : 'shared',
        async (client) =>
          (await client.call('POST', '/v1/agents', {
            name,
            backend: flags.backend,
            algorithm: flags.algorithm,
            ...(flags.owner === undefined ? {} : { ownerUid: flags.owner }),
          })) as AgentView,
        show,
      );
    });

  agent
    .command('list')
    .description('Agents you may use')
    .option('--admin', 'all agents, over the admin socket')
    .action(async (flags: { readonly admin?: boolean }, command: Command) => {
      await run(
        globals(command),
        streams,
        flags.admin === true ? 'admin' : 'shared',
        async (client) => ({ agents: (await client.listAgents()).map((handle) => handle.view) }),
        ({ agents }) =>
          agents.length === 0
            ? 'no agents'
            : table(
                ['NAME', 'BACKEND', 'ALGORITHM', 'ASSURANCE', 'KID'],
                agents.map((view) => [view.name, view.backend, view.algorithm, view.assurance, view.kid]),
              ),
      );
    });

  agent
    .command('show')
    .description('One agent')
    .argument('<agent>', 'name or id')
    .action(async (name: string, _flags: object, command: Command) => {
      await run(globals(command), streams, 'shared', async (client) => (await client.agent(name)).view, show);
    });

  agent
    .command('rotate')
    .description('Give the agent a new key and destroy the old one')
    .argument('<agent>', 'name or id')
    .option('--admin', 'over the admin socket')
    .addOption(new Option('--reason <reason>', 'why').choices(['routine', 'compromise']).default('routine'))
    .action(
      async (
        name: string,
        flags: { readonly admin?: boolean; readonly reason: string },
        command: Command,
      ) => {
        await run(
          globals(command),
          streams,
          flags.admin === true ? 'admin' : 'shared',
          async (client) =>
            (await client.call('POST', `/v1/agents/${encodeURIComponent(name)}/rotate`, {
              reason: flags.reason,
            })) as AgentView,
          show,
        );
      },
    );

  agent
    .command('retire')
    .description('Destroy the agent’s key; its name is never used again')
    .argument('<agent>', 'name or id')
    .option('--admin', 'over the admin socket')
    .action(async (name: string, flags: { readonly admin?: boolean }, command: Command) => {
      await run(
        globals(command),
        streams,
        flags.admin === true ? 'admin' : 'shared',
        async (client) => {
          const handle = await client.agent(name);
          return { retired: handle.name, id: handle.id, ...(await handle.retire()) };
        },
        ({ retired, erased, statement }) => `${retired} is retired (erased: ${erased}).\n${statement}`,
      );
    });

  agent
    .command('export-tss2')
    .description('Write the TSS2 PRIVATE KEY file of a TPM key, without its auth (admin)')
    .argument('<agent>', 'name or id')
    .action(async (name: string, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) =>
          (await client.call('POST', `/v1/agents/${encodeURIComponent(name)}/export-tss2`, {})) as {
            readonly pem: string;
          },
        ({ pem }) => pem,
      );
    });

  addDelegationCommands(agent, streams);
}

function show(view: AgentView): string {
  const { publicJwk, identifiers, ...rest } = view;
  return describe({ ...rest, ...identifiers, publicJwk: JSON.stringify(publicJwk) });
}
