#!/usr/bin/env node
/** agentkey-issuer: entry point. */
import { CommanderError } from 'commander';
import { asKeydError } from '../wire/problem.ts';
import { createProgram, EXIT } from './program.ts';

try {
  await createProgram().parseAsync();
} catch (thrown) {
  if (thrown instanceof CommanderError) {
    // Commander has written its message; help and version are no faults.
    process.exitCode = thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    const error = asKeydError(thrown);
    process.stderr.write(`agentkey-issuer: ${error.code}: ${error.message}\n`);
    process.exitCode = error.code === 'configuration_invalid' ? EXIT.usage : EXIT.failed;
  }
}
