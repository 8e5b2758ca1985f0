/** `agentkey budget ...` and `agentkey ledger ...`: what agents may still spend, and where it went. */
import { Option, type Command } from 'commander';
import type { AgentKeyClient } from '../client/index.ts';
import { ExactNumber } from '../wire/exact-number.ts';
import { KeydError } from '../wire/problem.ts';
import type { BudgetEntryView, BudgetHistoryView, BudgetView } from '../wire/socket/budget.ts';
import { wholeNumber } from './arguments.ts';
import { budgetTable, historyTable } from './budget-lines.ts';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { describe } from './table.ts';

interface Flags {
  readonly admin?: boolean;
}

interface Budgets {
  readonly budgets: readonly BudgetView[];
}

interface Entries {
  readonly entries: readonly BudgetEntryView[];
}

const MAX_PAGE = 500;
const UNIT = /^([A-Za-z][A-Za-z0-9]{0,31})\.([0-9]|1[0-5])$/;

export function addBudgetCommands(program: Command, streams: Streams): void {
  const budget = program.command('budget').description('What agents may still spend, and where it went');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();
  const socket = ({ admin }: Flags) => (admin === true ? 'admin' : 'shared');

  budget
    .command('show')
    .description('What the agent’s grant or delegation has, by unit')
    .argument('<agent>', 'name or id')
    .option('--admin', 'over the admin socket')
    .action(async (agent: string, flags: Flags, command: Command) => {
      await run(
        globals(command),
        streams,
        socket(flags),
        async (client) => (await client.call('GET', pathOf(agent))) as Budgets,
        ({ budgets }) => budgetTable(budgets),
      );
    });

  budget
    .command('top-up')
    .description('Give a sub-agent more, out of what its parent has left')
    .argument('<agent>', 'name or id')
    .argument('<unit>', 'the unit and its decimals, such as USD.2')
    .argument('<amount>', 'how much more, such as 25.00')
    .option('--admin', 'over the admin socket')
    .action(async (agent: string, unit: string, amount: string, flags: Flags, command: Command) => {
      await run(
        globals(command),
        streams,
        socket(flags),
        async (client) => (await client.call('POST', pathOf(agent), topUp(unit, amount))) as Budgets,
        ({ budgets }) => budgetTable(budgets),
      );
    });

  budget
    .command('history')
    .description('What was reserved, given back, settled, given on and returned, and by which call')
    .argument('<agent>', 'name or id')
    .addOption(new Option('-n, --lines <count>', 'how many').argParser(wholeNumber).default(20))
    .option('--admin', 'over the admin socket')
    .action(async (agent: string, flags: Flags & { readonly lines: number }, command: Command) => {
      await run(
        globals(command),
        streams,
        socket(flags),
        async (client): Promise<Entries> => ({ entries: await newest(client, agent, flags.lines) }),
        ({ entries }) => historyTable(entries),
      );
    });

  program
    .command('ledger')
    .description('The ledger of all budgets')
    .command('accept-rollback')
    .description('Go on with a ledger that is older than the TPM’s counter, on record (admin)')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => (await client.call('POST', '/v1/ledger/accept-rollback', {})) as object,
        (answer) => describe({ ...answer }),
      );
    });
}

function pathOf(agent: string): string {
  return `/v1/agents/${encodeURIComponent(agent)}/budget`;
}

/** In whole parts, exactly: no amount is rounded on its way. @throws KeydError `malformed_request` */
function topUp(unitText: string, amountText: string): object {
  const [, unit, decimalsText] = UNIT.exec(unitText) ?? [];
  if (unit === undefined)
    throw new KeydError('malformed_request', 'the unit must have its decimals, such as USD.2');
  const decimals = Number(decimalsText);
  const amount = ExactNumber.from(amountText)?.scaled(decimals);
  if (amount === undefined || amount <= 0n) {
    throw new KeydError(
      'malformed_request',
      `the amount must be above zero, with at most ${decimals} decimals`,
    );
  }
  return { unit, decimals, amount: String(amount) };
}

/** The newest entries, the oldest of them first. */
async function newest(
  client: AgentKeyClient,
  agent: string,
  count: number,
): Promise<readonly BudgetEntryView[]> {
  const entries: BudgetEntryView[] = [];
  let before: number | null | undefined;
  while (before !== null && entries.length < count) {
    const query = `limit=${Math.min(count - entries.length, MAX_PAGE)}`;
    const page = (await client.call(
      'GET',
      `${pathOf(agent)}/history?${query}${before === undefined ? '' : `&before=${before}`}`,
    )) as BudgetHistoryView;
    entries.push(...page.entries);
    before = page.next;
  }
  return entries.reverse();
}
