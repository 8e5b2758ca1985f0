/** `agentkey agent ...`: delegate, children, chain, revoke. */
import { Option, type Command } from 'commander';
import { ALGORITHMS, type Algorithm } from '../wire/algorithms.ts';
import type { AgentView, DelegateOptions } from '../client/index.ts';
import { KeydError } from '../wire/problem.ts';
import { wholeNumber } from './arguments.ts';
import { chainLines } from './chain-lines.ts';
import { print, run, withClient, type GlobalOptions, type Streams } from './context.ts';
import { budget, constraint, duration, type BudgetAmount } from './delegation-terms.ts';
import { runFor } from './run-for.ts';
import { approvalOptions, intentOf, withSignOptions, type SignFlags } from './sign-options.ts';
import { table } from './table.ts';

interface DelegateFlags extends SignFlags {
  readonly scope: readonly string[];
  readonly aud: readonly string[];
  readonly constraint?: readonly Readonly<Record<string, unknown>>[];
  readonly budget?: readonly BudgetAmount[];
  readonly expires: number;
  readonly maxDepth?: number;
  readonly count?: number;
  readonly ephemeral?: boolean;
  readonly backend?: 'tpm' | 'pkcs11';
  readonly algorithm?: Algorithm;
}

const DELEGATE_HELP = `
A constraint is "KEY TYPE VALUE" or a JSON object; those of the parent hold in any case:
  "path prefix /v1/mail"    "method in GET,HEAD"    "body:/amount max 30.00"
  "operation in http-message"    '{"key":"body:/to","equals":"ACME"}'

Examples:
  agentkey agent delegate planner mailer --scope mail.read --aud https://api.example --expires 10m
  agentkey agent delegate planner payer --scope pay --aud https://api.example --budget USD:30.00 \\
    --constraint "body:/to equals ACME" --max-depth 1 --expires 1h
  agentkey agent delegate planner job --scope '*' --aud '*' --expires 10m --ephemeral -- ./job.sh`;

/** Adds its verbs to `agentkey agent`. */
export function addDelegationCommands(agent: Command, streams: Streams): void {
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  withSignOptions(agent.command('delegate'))
    .description('Make a sub-agent with a key of its own and a part of an agent’s authority')
    .argument('<parent>', 'name or id of the agent that delegates')
    .argument('<name>', 'last part of the sub-agent’s name: <parent>+<name>')
    .argument('[command...]', 'after "--", with --ephemeral: what runs as long as the sub-agent lives')
    .requiredOption('--scope <scope>', 'what it may do; repeatable', listOf(String))
    .requiredOption('--aud <origin>', 'server it may be used at, or "*"; repeatable', listOf(String))
    .requiredOption('--expires <time>', 'how long it lives: 90s, 10m, 2h, 7d', duration)
    .option('--constraint <bound>', 'a further bound; repeatable', listOf(constraint))
    .option(
      '--budget <amount>',
      'what it may spend, UNIT:AMOUNT; repeatable; a unit without one is zero',
      listOf(budget),
    )
    .option(
      '--max-depth <depth>',
      'depth that its own sub-agents may reach; default the parent’s',
      wholeNumber,
    )
    .option('--count <n>', 'as many, named <name>-1 and so on; all of them or none; at most 50', wholeNumber)
    .option(
      '--ephemeral',
      'it lives as long as the command after "--", which finds its name in AGENTKEY_AGENT',
    )
    .addOption(new Option('--backend <kind>', 'default the parent’s').choices(['tpm', 'pkcs11']))
    .addOption(new Option('--algorithm <alg>', 'default the parent’s').choices(ALGORITHMS))
    .addHelpText('after', DELEGATE_HELP)
    .action(
      async (
        parent: string,
        name: string,
        program: readonly string[],
        { count, ephemeral, ...flags }: DelegateFlags,
        command: Command,
      ) => {
        const options = globals(command);
        const wanted = request(name, flags);
        if ((ephemeral === true) !== program.length > 0 || (ephemeral === true && count !== undefined)) {
          command.error(
            'error: --ephemeral goes with one sub-agent and a command after "--", and neither without the other',
          );
        }
        await withClient(options, 'shared', async (client) => {
          const handle = await client.agent(parent);
          const how = { ...approvalOptions(flags, streams), ...intentOf(flags) };
          if (ephemeral === true) {
            await using made = await handle.delegateEphemeral(wanted, how);
            const status = await runFor(program, { agent: made.name, socketPath: client.socketPath });
            streams.ended?.(status);
            return;
          }
          if (count === undefined) {
            const { view } = await handle.delegate(wanted, how);
            print(options, streams, view, () => made([view]));
            return;
          }
          const batch = Array.from({ length: count }, (_, index) => ({
            ...wanted,
            name: `${name}-${index + 1}`,
          }));
          const agents = (await handle.delegateAll(batch, how)).map(({ view }) => view);
          print(options, streams, { agents }, () => made(agents));
        });
      },
    );

  agent
    .command('children')
    .description('The sub-agents directly below an agent')
    .argument('<agent>', 'name or id')
    .action(async (name: string, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => {
          const children = await (await client.agent(name)).subAgents();
          return { agents: children.map(({ view }) => view) };
        },
        ({ agents }) => (agents.length === 0 ? 'no sub-agents' : made(agents)),
      );
    });

  agent
    .command('chain')
    .description('By whose leave an agent acts: the tokens from the grant of its principal to its own link')
    .argument('<agent>', 'name or id')
    .option('--tokens', 'the tokens as they are sent, with "~" between them')
    .action(async (name: string, flags: { readonly tokens?: boolean }, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => ({ chain: await (await client.agent(name)).chain() }),
        ({ chain }) => (flags.tokens === true ? chain.join('~') : chainLines(chain)),
      );
    });

  agent
    .command('revoke')
    .description('End a sub-agent and everything below it, at once')
    .argument('<agent>', 'name or id')
    .addOption(new Option('--reason <reason>', 'why').choices(['done', 'compromise']).default('done'))
    .option('--admin', 'over the admin socket')
    .action(
      async (
        name: string,
        flags: { readonly admin?: boolean; readonly reason: 'done' | 'compromise' },
        command: Command,
      ) => {
        await run(
          globals(command),
          streams,
          flags.admin === true ? 'admin' : 'shared',
          async (client) => {
            const handle = await client.agent(name);
            return {
              revoked: handle.name,
              id: handle.id,
              ...(await handle.revoke({ reason: flags.reason })),
            };
          },
          ({ revoked, erased, statement }) =>
            `${revoked} and all below it have ended (erased: ${erased}).\n${statement}`,
        );
      },
    );
}

function request(
  name: string,
  {
    scope,
    aud,
    constraint: constraints,
    budget: budgets,
    expires,
    maxDepth,
    backend,
    algorithm,
  }: DelegateFlags,
): DelegateOptions {
  return {
    name,
    scopes: scope,
    aud,
    expiresIn: expires,
    ...(constraints === undefined ? {} : { constraints }),
    ...(budgets === undefined ? {} : { budget: budgets }),
    ...(maxDepth === undefined ? {} : { maxDepth }),
    ...(backend === undefined ? {} : { backend }),
    ...(algorithm === undefined ? {} : { algorithm }),
  };
}

/** Reads a repeatable option. */
function listOf<T>(
  read: (text: string) => T,
): (text: string, before: readonly T[] | undefined) => readonly T[] {
  return (text, before = []) => [...before, read(text)];
}

function made(agents: readonly AgentView[]): string {
  return table(
    ['NAME', 'KID', 'SCOPES', 'AUDIENCES', 'ENDS'],
    agents.map(({ name, kid, delegation }) => {
      if (delegation === undefined) throw new KeydError('internal', `${name} has no delegation`);
      return [name, kid, delegation.scopes.join(' '), delegation.aud.join(' '), delegation.expiresAt];
    }),
  );
}
