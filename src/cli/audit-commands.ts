/** `agentkey audit ...`: read the log, prove an entry, export it, verify it with or without the daemon. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { Option, type Command } from 'commander';
import { parseAuditEntry, type AuditEntry } from '../wire/audit-entry.ts';
import { encodeExportHeader } from '../wire/audit-export.ts';
import { parseCheckpoint } from '../wire/checkpoint.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { wholeNumber } from './arguments.ts';
import { entryLine } from './audit-lines.ts';
import { fetchCheckpoint, fetchEntries, fetchPage } from './audit-pages.ts';
import { addAuditVerifyCommand, progress } from './audit-verify-command.ts';
import { run, withClient, type GlobalOptions, type Streams } from './context.ts';
import { describe } from './table.ts';

const POLL_MS = 1000;

export function addAuditCommands(program: Command, streams: Streams): void {
  const audit = program.command('audit').description('The log of what was decided and signed (admin)');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  audit
    .command('tail')
    .description('The newest entries (admin)')
    .addOption(new Option('-n, --lines <count>', 'how many').argParser(wholeNumber).default(20))
    .option('-f, --follow', 'go on with new ones as they come')
    .action(async (flags: { readonly lines: number; readonly follow?: boolean }, command: Command) => {
      const options = globals(command);
      await withClient(options, 'admin', async (client) => {
        let next = Math.max(0, (await fetchPage(client, 0, 1)).size - flags.lines);
        do {
          const { size } = await fetchPage(client, next, 1);
          for await (const octets of fetchEntries(client, next, size)) {
            streams.out(options.json === true ? `${octets}\n` : `${entryLine(read(octets))}\n`);
          }
          next = size;
          if (flags.follow === true) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        } while (flags.follow === true);
      });
    });

  audit
    .command('show')
    .description('One entry (admin)')
    .argument('<index>', 'its index', wholeNumber)
    .action(async (index: number, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => {
          const [octets] = (await fetchPage(client, index, 1)).entries;
          if (octets !== undefined) return read(octets);
          throw new KeydError('not_found', `the audit log has no entry ${index}`);
        },
        (entry) => describe({ ...entry }),
      );
    });

  audit
    .command('prove')
    .description('A proof that an entry stands in the log, for audit verify --proof (admin)')
    .argument('<index>', 'index of the entry', wholeNumber)
    .action(async (index: number, _flags: object, command: Command) => {
      // For a program in any case: what it prints is what is verified.
      await run(
        { ...globals(command), json: true },
        streams,
        'admin',
        async (client) => client.call('GET', `/v1/audit/proof?index=${index}`),
        String,
      );
    });

  audit
    .command('key')
    .description('The public key that signs the log, as a JWK, for audit verify --key')
    .action(async (_flags: object, command: Command) => {
      await run(
        { ...globals(command), json: true },
        streams,
        'shared',
        async (client) => (await fetchCheckpoint(client)).publicJwk,
        String,
      );
    });

  audit
    .command('export')
    .description('The whole log with a checkpoint over it, for audit verify (admin)')
    .option('-o, --output <file>', 'default standard output')
    .action(async (flags: { readonly output?: string }, command: Command) => {
      await withClient(globals(command), 'admin', async (client) => {
        const { checkpoint, publicJwk } = await fetchCheckpoint(client);
        const { size } = parseCheckpoint(checkpoint);
        const tell = progress(streams, 'exported');
        await writeAll(flags.output, streams, exportLines());
        async function* exportLines(): AsyncGenerator<string, void> {
          yield encodeExportHeader(checkpoint, size, publicJwk);
          let entries = 0;
          for await (const octets of fetchEntries(client, 0, size)) {
            yield `${octets}\n`;
            tell((entries += 1), size);
          }
        }
      });
    });

  addAuditVerifyCommand(audit, streams);
}

function read(octets: string): AuditEntry {
  return parseAuditEntry(Buffer.from(octets, 'utf8'));
}

/** To a file that nobody else may read, and that is whole when this resolves; or to standard output. */
async function writeAll(
  file: string | undefined,
  streams: Streams,
  lines: AsyncIterable<string>,
): Promise<void> {
  if (file === undefined) {
    for await (const line of lines) streams.out(line);
    return;
  }
  const stream = createWriteStream(file, { mode: 0o600, flush: true });
  try {
    await once(stream, 'open');
    for await (const line of lines) if (!stream.write(line)) await once(stream, 'drain');
    stream.end();
    await once(stream, 'close');
  } catch (thrown) {
    stream.destroy();
    const error = asKeydError(thrown);
    throw error.code === 'internal'
      ? new KeydError('malformed_request', `can not write ${file}: ${error.message}`, { cause: thrown })
      : error;
  }
}
