/** `agentkey status`, `credential`, `attest` and `host`: what is proven, and to whom. */
import { randomBytes } from 'node:crypto';
import { Option, type Command } from 'commander';
import type { CredentialsView } from '../client/index.ts';
import { pcrList } from './arguments.ts';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { describe } from './table.ts';

type Details = Readonly<Record<string, unknown>>;

export function addHostCommands(program: Command, streams: Streams): void {
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  program
    .command('status')
    .description('State of backends, issuer link, attestation and queue')
    .action(async (_flags: object, command: Command) => {
      await run(globals(command), streams, 'shared', async (client) => client.status(), describe);
    });

  const credential = program.command('credential').description('Credentials of an agent');
  credential
    .command('show')
    .description('Certificate, WIT, agent token and Attestation Result the daemon holds')
    .argument('<agent>', 'name or id')
    .action(async (agent: string, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => (await client.agent(agent)).credentials(),
        credentials,
      );
    });
  credential
    .command('renew')
    .description('Fetch new credentials from the issuer now')
    .argument('<agent>', 'name or id')
    .action(async (agent: string, _flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => (await client.agent(agent)).renewCredentials(),
        credentials,
      );
    });

  program
    .command('attest')
    .description('A quote of this host for a third party, with all that tpm2_checkquote needs')
    .argument('<audience>', 'who it is for; bound into the quote')
    .option('--nonce <base64url>', '16 to 64 octets from the third party; default random')
    .addOption(
      new Option('--pcr <list>', 'PCR indices of the SHA-256 bank, comma separated').argParser(pcrList),
    )
    .action(
      async (
        audience: string,
        flags: { readonly nonce?: string; readonly pcr?: readonly number[] },
        command: Command,
      ) => {
        const nonce = flags.nonce ?? randomBytes(32).toString('base64url');
        const pcrs = flags.pcr === undefined ? {} : { pcrs: flags.pcr };
        await run(
          globals(command),
          streams,
          'shared',
          async (client) => ({ audience, nonce, ...(await client.quote({ audience, nonce, ...pcrs })) }),
          describe,
        );
      },
    );

  const host = program.command('host').description('This host and its issuer');
  host
    .command('status')
    .description('Enrolment and standing of this host')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => ((await client.status())['host'] ?? {}) as Details,
        describe,
      );
    });
  host
    .command('enroll')
    .description('Prove this host to the issuer now (admin)')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => (await client.call('POST', '/v1/host/enroll', {})) as Details,
        describe,
      );
    });
  host
    .command('adopt-tpm')
    .description('Take the present TPM for this host’s own after it was cleared or replaced (admin)')
    .action(async (_flags: object, command: Command) => {
      await run(
        globals(command),
        streams,
        'admin',
        async (client) => (await client.call('POST', '/v1/host/adopt-tpm', {})) as Details,
        describe,
      );
    });
}

function credentials(view: CredentialsView): string {
  const { x509, ...tokens } = view;
  return [describe({ ...tokens, x509NotAfter: x509?.notAfter ?? null }), ...(x509?.chain ?? [])].join('\n');
}
