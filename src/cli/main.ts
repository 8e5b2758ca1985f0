#!/usr/bin/env node
/** `agentkey`: the operator's and developer's command line. */
import { createRequire } from 'node:module';
import { Command, CommanderError, Option } from 'commander';
import { asKeydError, type KeydError } from '../wire/problem.ts';
import { addAgentCommands } from './agent-commands.ts';
import { addApprovalCommands } from './approval-commands.ts';
import { addAuditCommands } from './audit-commands.ts';
import { seconds } from './arguments.ts';
import { addBudgetCommands } from './budget-commands.ts';
import { addCompletionCommand } from './completion.ts';
import type { GlobalOptions, Streams } from './context.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { addHostCommands } from './host-commands.ts';
import { addPolicyCommands } from './policy-commands.ts';
import { shown, shownJson, shownLines } from './shown.ts';
import { addSignCommands } from './sign-commands.ts';

const EXIT_HELP = `
Exit codes:
  0  done
  1  refused by policy, the daemon or the issuer; policies or cases with faults
  2  wrong usage
  3  no daemon on the socket
  4  no such agent
  5  not available now, try again (hardware, issuer, queue)
  6  waits for a person (agentkey approvals)
 70  internal error

Environment:
  AGENTKEYD_SOCKET, AGENTKEYD_ADMIN_SOCKET  as --socket and --admin-socket`;

/** The whole command tree; `streams` receives what it prints. */
export function buildProgram(streams: Streams): Command {
  const { version } = createRequire(import.meta.url)('../../package.json') as { readonly version: string };
  const program = new Command('agentkey')
    .description('Hardware keys of AI agents: create, sign, attest')
    .version(version)
    .option('--socket <path>', 'socket of the daemon')
    .option('--admin-socket <path>', 'admin socket, used by what is marked (admin)')
    .option('--json', 'print JSON; errors become a problem document on standard error')
    .addOption(new Option('--timeout <seconds>', 'longest wait').argParser(seconds).default(30))
    .addHelpText('after', EXIT_HELP)
    .showHelpAfterError('(--help tells more)')
    .exitOverride()
    .configureOutput({ writeOut: streams.out, writeErr: streams.err });
  addHostCommands(program, streams);
  addAgentCommands(program, streams);
  addSignCommands(program, streams);
  addApprovalCommands(program, streams);
  addPolicyCommands(program, streams);
  addBudgetCommands(program, streams);
  addAuditCommands(program, streams);
  addCompletionCommand(program, streams);
  for (const command of descendants(program)) command.copyInheritedSettings(program).exitOverride();
  return program;
}

/** Every command below `command`. */
export function descendants(command: Command): readonly Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)]);
}

/** Runs one command line and returns its exit code. */
export async function main(args: readonly string[], streams: Streams): Promise<number> {
  let status: number = EXIT.ok;
  const program = buildProgram({ ...streams, ended: (code) => (status = code) });
  try {
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const error = asKeydError(thrown);
    const { json } = program.opts<GlobalOptions>();
    streams.err(
      json === true
        ? `${shownJson(error.toProblem())}\n`
        : `agentkey: ${shownLines(error.message)}\n${untoldFaults(error)
            .map((fault) => `  - ${shown(fault)}\n`)
            .join('')}`,
    );
    return exitCodeOf(error);
  }
}

/** Faults that the message does not name already. */
function untoldFaults({ faults = [], message }: KeydError): readonly string[] {
  return faults.filter((fault) => !message.includes(fault));
}

if (import.meta.main) {
  // `agentkey agent list | head -1`: who reads no more wants no more.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(EXIT.ok);
  });
  process.exitCode = await main(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
}
