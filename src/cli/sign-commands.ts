/** `agentkey sign ...`: typed signing from a shell. */
import { Option, type Command } from 'commander';
import type { MessageIntent } from '../client/index.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { KeydError } from '../wire/problem.ts';
import { HTTP_PROFILES } from '../wire/socket/signing.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import { collect, readData } from './arguments.ts';
import { run, type GlobalOptions, type Streams } from './context.ts';
import { approvalOptions, intentOf, withSignOptions, type SignFlags } from './sign-options.ts';

interface HttpFlags extends SignFlags {
  readonly disclose?: boolean;
  readonly profile: (typeof HTTP_PROFILES)[number];
  readonly header: readonly string[];
  readonly data?: string;
  readonly component: readonly string[];
  readonly nonce?: string;
  readonly tag?: string;
}

interface DpopFlags extends SignFlags {
  readonly nonce?: string;
  readonly ath?: string;
  readonly accessToken?: string;
}

export function addSignCommands(program: Command, streams: Streams): void {
  const sign = program.command('sign').description('Sign a typed request');
  const globals = (command: Command): GlobalOptions => command.optsWithGlobals();

  withSignOptions(sign.command('http'))
    .description('RFC 9421 headers for a request, one "name: value" a line')
    .argument('<agent>', 'name or id')
    .argument('<method>', 'GET, POST, ...')
    .argument('<uri>', 'absolute URI in canonical form')
    .addOption(
      new Option('--profile <profile>', 'signature profile').choices(HTTP_PROFILES).default('rfc9421'),
    )
    .option('-H, --header <field>', 'a header of the request, "name: value"; repeatable', collect, [])
    .option('-d, --data <body>', 'the body; @FILE reads a file, @- standard input')
    .option('-c, --component <name>', 'cover this component too; repeatable', collect, [])
    .option('--nonce <challenge>', 'a verifier’s challenge')
    .option('--tag <tag>', 'the signature’s tag parameter')
    .option('--disclose', 'tell the server purpose, task and session, under the signature')
    .action(async (agent: string, method: string, targetUri: string, flags: HttpFlags, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) =>
          (await client.agent(agent)).signHttpMessage(
            {
              profile: flags.profile,
              method,
              targetUri,
              headers: flags.header.map(headerField),
              ...(flags.data === undefined ? {} : { body: readData(flags.data) }),
              ...(flags.component.length === 0 ? {} : { components: flags.component }),
              ...(flags.nonce === undefined ? {} : { nonce: flags.nonce }),
              ...(flags.tag === undefined ? {} : { tag: flags.tag }),
              ...disclosedIntent(flags),
            },
            approvalOptions(flags, streams),
          ),
        (headers) =>
          Object.entries(headers)
            .map(([name, value]) => `${name}: ${value}`)
            .join('\n'),
      );
    });

  withSignOptions(sign.command('dpop'))
    .description('A DPoP proof (RFC 9449)')
    .argument('<agent>', 'name or id')
    .argument('<method>', 'HTTP method (htm)')
    .argument('<uri>', 'URI without query and fragment (htu)')
    .option('--nonce <nonce>', 'the server’s nonce')
    .option('--ath <hash>', 'hash of the access token')
    .option('--access-token <token>', 'the token itself, hashed by the daemon; @FILE reads a file')
    .action(async (agent: string, htm: string, htu: string, flags: DpopFlags, command: Command) => {
      const { accessToken, nonce, ath } = flags;
      const request = {
        htm,
        htu,
        ...(nonce === undefined ? {} : { nonce }),
        ...(ath === undefined ? {} : { ath }),
        ...intentOf(flags),
      };
      const token = accessToken === undefined ? {} : { accessToken: text(accessToken) };
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => ({
          proof: await (
            await client.agent(agent)
          ).signDpop({ ...request, ...token }, approvalOptions(flags, streams)),
        }),
        ({ proof }) => proof,
      );
    });

  withSignOptions(sign.command('jwt'))
    .description('A JWT of an unreserved type; the daemon sets iss, sub, iat, exp, jti')
    .argument('<agent>', 'name or id')
    .argument('<typ>', 'the JOSE typ')
    .argument('<claims>', 'JSON object; @FILE reads a file, @- standard input')
    .action(async (agent: string, typ: string, claims: string, flags: SignFlags, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => ({
          jwt: await (
            await client.agent(agent)
          ).signJwt(typ, jsonObject(claims), {
            ...approvalOptions(flags, streams),
            ...intentOf(flags),
          }),
        }),
        ({ jwt }) => jwt,
      );
    });

  withSignOptions(sign.command('csr'))
    .description('A PKCS#10 request over the agent’s key, PEM')
    .argument('<agent>', 'name or id')
    .option('--common-name <cn>', 'subject common name')
    .option('--organization <o>', 'subject organization')
    .option('--uri <uri>', 'URI subject alternative name; repeatable', collect, [])
    .option('--dns <name>', 'DNS subject alternative name; repeatable', collect, [])
    .action(
      async (
        agent: string,
        flags: SignFlags & {
          readonly commonName?: string;
          readonly organization?: string;
          readonly uri: readonly string[];
          readonly dns: readonly string[];
        },
        command: Command,
      ) => {
        const { uri, dns, commonName, organization } = flags;
        const subject = {
          ...(commonName === undefined ? {} : { commonName }),
          ...(organization === undefined ? {} : { organization }),
        };
        await run(
          globals(command),
          streams,
          'shared',
          async (client) => ({
            csr: await (
              await client.agent(agent)
            ).signCsr(
              {
                ...(Object.keys(subject).length === 0 ? {} : { subject }),
                ...(uri.length + dns.length === 0 ? {} : { sans: { uri, dns } }),
                ...intentOf(flags),
              },
              approvalOptions(flags, streams),
            ),
          }),
          ({ csr }) => csr,
        );
      },
    );

  withSignOptions(sign.command('raw'))
    .description('Raw octets; refused unless policy names this agent for it')
    .argument('<agent>', 'name or id')
    .argument('<data>', 'the octets; @FILE reads a file, @- standard input')
    .action(async (agent: string, data: string, flags: SignFlags, command: Command) => {
      await run(
        globals(command),
        streams,
        'shared',
        async (client) => ({
          signature: encodeBase64url(
            await (
              await client.agent(agent)
            ).signRaw(readData(data), {
              ...approvalOptions(flags, streams),
              ...intentOf(flags),
            }),
          ),
        }),
        ({ signature }) => signature,
      );
    });
}

function disclosedIntent(flags: HttpFlags): { readonly intent?: MessageIntent } {
  const { intent } = intentOf(flags);
  if (flags.disclose !== true) return intent === undefined ? {} : { intent };
  return { intent: { ...intent, disclose: true } };
}

function headerField(field: string): readonly [string, string] {
  const colon = field.indexOf(':');
  if (colon < 1)
    throw new KeydError('malformed_request', `--header ${JSON.stringify(field)} is not "name: value"`);
  return [field.slice(0, colon).trim(), field.slice(colon + 1).trim()];
}

/** A file's last newline is no part of a token. */
function text(argument: string): string {
  return Buffer.from(readData(argument))
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

function jsonObject(argument: string): Readonly<Record<string, unknown>> {
  const value = parseStrictJson(readData(argument), { maxDepth: 16, maxOctets: 64 * 1024 });
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new KeydError('malformed_request', 'the claims must be a JSON object');
  }
  return value as Readonly<Record<string, unknown>>;
}
