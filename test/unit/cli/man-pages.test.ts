/** The man pages are written by hand; this holds them to the programs they describe, both ways. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { EXIT as CLI_EXIT } from '../../../src/cli/exit-codes.ts';
import { buildProgram } from '../../../src/cli/main.ts';
import { EXIT as DAEMON_EXIT, USAGE } from '../../../src/daemon/flags.ts';
import { createProgram, EXIT as ISSUER_EXIT } from '../../../src/issuer/program.ts';

const run = promisify(execFile);
const FOLDER = join(import.meta.dirname, '..', '..', '..', 'docs', 'man');
const PAGES = ['agentkey.1', 'agentkeyd.8', 'agentkey-issuer.8'];

/** The words of a page without its macros and fonts. */
function words(page: string): string {
  return readFileSync(join(FOLDER, page), 'utf8')
    .replace(/^\.[A-Z]+ ?/gm, '')
    .replace(/\\f./g, '')
    .replace(/\\-/g, '-')
    .replace(/"/g, '')
    .replace(/[\s,]+/g, ' ');
}

function longOptions(text: string): readonly string[] {
  return [...new Set(text.match(/(?<![\w-])--[a-z][a-z0-9-]*/g) ?? [])].toSorted();
}

function exitCodes(page: string): readonly number[] {
  const [, section = ''] =
    /^\.SH EXIT STATUS\n([^]*?)^\.SH /m.exec(readFileSync(join(FOLDER, page), 'utf8')) ?? [];
  return [...section.matchAll(/^\.B (\d+)$/gm)].map(([, code]) => Number(code));
}

/** Leaf commands as they are typed, and every long option of the tree. */
function tree(program: Command): {
  readonly commands: readonly string[];
  readonly options: readonly string[];
} {
  const commands: string[] = [];
  const options = new Set(['--help']);
  const visit = (command: Command, path: string): void => {
    for (const { long } of command.options) if (typeof long === 'string') options.add(long);
    if (command.commands.length === 0) commands.push(path);
    for (const child of command.commands) visit(child, `${path} ${child.name()}`.trim());
  };
  visit(program, '');
  return { commands, options: [...options].toSorted() };
}

const silent = { out: () => undefined, err: () => undefined };

describe.each([
  ['agentkey.1', tree(buildProgram(silent)), CLI_EXIT],
  ['agentkey-issuer.8', tree(createProgram()), ISSUER_EXIT],
] as const)('%s', (page, { commands, options }, exit) => {
  it('names every command and option of the program, and no other', () => {
    const text = words(page);
    for (const command of commands) expect(text).toContain(` ${command} `);
    expect(longOptions(text)).toEqual(options);
  });

  it('tells every exit status', () => {
    expect(exitCodes(page)).toEqual(Object.values(exit).toSorted((a, b) => a - b));
  });
});

describe('agentkeyd.8', () => {
  it('names every option and exit status of the program, and no other', () => {
    expect(longOptions(words('agentkeyd.8'))).toEqual(longOptions(USAGE));
    expect(exitCodes('agentkeyd.8')).toEqual(Object.values(DAEMON_EXIT));
  });
});

// groff is not needed to build or run anything.
describe.runIf(existsSync('/usr/bin/groff'))('groff', () => {
  it.each(PAGES)('has nothing to say against %s', async (page) => {
    const { stdout, stderr } = await run('groff', ['-man', '-Tutf8', '-P-cbou', '-ww', join(FOLDER, page)]);
    expect(stderr).toBe('');
    expect(stdout).toContain('SEE ALSO');
  });
});
