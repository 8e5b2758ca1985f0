/** The command line of agentkey-issuer. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { createLogger } from '../base/logger.ts';
import { loadAppraisalPolicy } from './appraisal-policy-loader.ts';
import { acceptRollback, approveHost, listHosts } from './commands/hosts.ts';
import { initialiseKeys, printKeys } from './commands/keys.ts';
import { listIssuances } from './commands/issuances.ts';
import { standardOutput, type Output } from './commands/output.ts';
import { importEndorsementRoots } from './commands/roots.ts';
import { serve } from './commands/serve.ts';
import { readIssuerConfig, type IssuerConfig } from './config.ts';
import { HostRegistry } from './host-registry.ts';

/** Exit codes, documented in docs/issuer.md. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

const DEFAULT_CONFIG = '/etc/agentkey-issuer/issuer.toml';
const EXIT_HELP = `
Exit codes:
  0  done
  1  it failed: the reason is on standard error
  2  the command line or the configuration is wrong`;

interface GlobalOptions {
  readonly config: string;
  readonly json: boolean;
}

export function createProgram(output: Output = standardOutput): Command {
  const program = new Command('agentkey-issuer')
    .description('Verifies attestation evidence and issues short-lived credentials for agents')
    .addOption(
      new Option('--config <file>', 'configuration').default(DEFAULT_CONFIG).env('AGENTKEY_ISSUER_CONFIG'),
    )
    .option('--json', 'one JSON document instead of lines', false)
    .addHelpText('after', EXIT_HELP)
    .exitOverride();
  const options = (): GlobalOptions => program.opts();
  const config = (): IssuerConfig => readIssuerConfig(options().config);
  const logger = (level: IssuerConfig['logLevel']) => createLogger({ name: 'agentkey-issuer', level });

  program
    .command('serve')
    .description('run the issuer; SIGHUP reloads hosts, roots and TLS material, SIGTERM stops')
    .action(async () => {
      const read = config();
      await serve(read, logger(read.logLevel));
    });

  program
    .command('check')
    .description('check configuration, hosts file and endorsement roots')
    .action(() => {
      const read = config();
      new HostRegistry(read.hostsFile, read.lifetimes.credentialSeconds);
      loadAppraisalPolicy(read);
      output.line('the configuration is in order');
    });

  const keys = program.command('keys').description('the issuer’s own keys');
  keys
    .command('init')
    .description('make the keys that are missing in the token, and the CA certificate')
    .action(async () => {
      printKeys(await initialiseKeys(config(), logger('warn')), output, options().json);
    });

  const roots = program.command('roots').description('endorsement roots of TPM vendors');
  roots
    .command('import')
    .argument('<bundle>', 'PEM file')
    .description('keep the certificates of a bundle whose fingerprint is pinned')
    .action((bundle: string) => {
      importEndorsementRoots(config(), bundle, output);
    });

  const hosts = program.command('hosts').description('who may enrol');
  hosts
    .command('list')
    .description('approved hosts with their standing, and hosts that asked without approval')
    .action(async () => {
      await listHosts(config(), output, options().json);
    });
  hosts
    .command('approve')
    .argument('<ek-sha256>', 'SHA-256 of the EK, as "agentkey host status" shows it on the host')
    .description('add a host to the hosts file')
    .requiredOption('--label <label>', 'name of the host in identifiers')
    .requiredOption('--names <patterns...>', 'names its agents may have, * for any characters')
    .requiredOption('--principal <principal>', 'who answers for its agents')
    .option('--max-ttl <seconds>', 'longest life of a credential', wholeNumber)
    .action(
      (ekSha256: string, given: { label: string; names: string[]; principal: string; maxTtl?: number }) => {
        const { label, names, principal, maxTtl } = given;
        approveHost(
          config(),
          { ekSha256, label, namePatterns: names, principal, maxTtlSeconds: maxTtl },
          output,
        );
      },
    );

  hosts
    .command('accept-rollback')
    .argument('<host>', 'label or SHA-256 of the EK')
    .description(
      'forget, on record, what was seen of a host’s logs: for one whose state was lost or restored',
    )
    .action(async (host: string) => {
      await acceptRollback(config(), host, output);
    });

  program
    .command('issuances')
    .description('the append-only log of what was issued')
    .option('--from <sequence>', 'first entry', wholeNumber, 1)
    .option('--limit <count>', 'at most so many', wholeNumber, 100)
    .action(async ({ from, limit }: { from: number; limit: number }) => {
      await listIssuances(config(), from, limit, output);
    });
  return program;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted');
  return value;
}
