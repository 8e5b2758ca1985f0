/** What every `agentkey sign` takes: what it is for, and whether to wait for a person. */
import type { Command } from 'commander';
import type { ApprovalOptions, ApprovalView, Intent } from '../client/index.ts';
import type { Streams } from './context.ts';

export interface SignFlags {
  readonly purpose?: string;
  readonly task?: string;
  readonly session?: string;
  readonly note?: string;
  readonly wait?: boolean;
}

export function withSignOptions(command: Command): Command {
  return withWait(
    command
      .option('--purpose <name>', 'what it is for: judged by policy, on record as your word')
      .option('--task <name>', 'the task it is part of')
      .option('--session <name>', 'the session it is part of')
      .option('--note <text>', 'one line for people'),
  );
}

export function withWait(command: Command): Command {
  return command.option('--wait', 'where policy wants a person, wait until one has decided');
}

/** The stated intent, if any. */
export function intentOf({ purpose, task, session, note }: SignFlags): { readonly intent?: Intent } {
  const intent = {
    ...(purpose === undefined ? {} : { purpose }),
    ...(task === undefined ? {} : { task }),
    ...(session === undefined ? {} : { session }),
    ...(note === undefined ? {} : { note }),
  };
  return Object.keys(intent).length === 0 ? {} : { intent };
}

/** A wait is told on standard error: people see it, and the answer alone is on standard output. */
export function approvalOptions({ wait = false }: SignFlags, streams: Streams): ApprovalOptions {
  return {
    waitForApproval: wait,
    onApproval: ({ id, expiresAt }: ApprovalView) => {
      streams.err(`waiting for a person: agentkey approvals allow ${id} (until ${expiresAt})\n`);
    },
  };
}
