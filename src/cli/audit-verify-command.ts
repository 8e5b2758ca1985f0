/** `agentkey audit verify`: the daemon's log, an export, a directory or a single proof. */
import { Option, type Command } from 'commander';
import {
  AuditLogVerifier,
  verifyAuditExport,
  verifyAuditProof,
  type AuditFinding,
  type AuditReport,
  type AuditTrust,
} from '../verify/index.ts';
import { toJson } from '../wire/json-octets.ts';
import { parseCheckpoint } from '../wire/checkpoint.ts';
import { KeydError } from '../wire/problem.ts';
import { collect, wholeNumber } from './arguments.ts';
import { chunksOf, readCheckpoint, readJson, readKey, verifyDirectory } from './audit-files.ts';
import { findingLine } from './audit-lines.ts';
import { fetchCheckpoint, fetchEntries } from './audit-pages.ts';
import { print, withClient, type GlobalOptions, type Streams } from './context.ts';

interface VerifyFlags {
  readonly directory?: string;
  readonly proof?: string;
  readonly key: readonly string[];
  readonly checkpoint: readonly string[];
  readonly counter?: number;
  readonly ak: readonly string[];
}

const PROGRESS_MS = 1000;

export function addAuditVerifyCommand(audit: Command, streams: Streams): void {
  audit
    .command('verify')
    .description(
      'Find what was done to the log: of the daemon (admin), or without it a file, directory or proof',
    )
    .argument('[file]', 'what audit export wrote; - for standard input')
    .option('--directory <path>', 'a state directory that no daemon writes to, or a copy')
    .option('--proof <file>', 'what audit prove printed')
    .option('--key <file>', 'public key that signs the log, or one before it; repeatable', collect, [])
    .option('--checkpoint <file>', 'a checkpoint that was seen of this log before; repeatable', collect, [])
    .addOption(
      new Option('--counter <value>', 'present value of the counter that anchors it').argParser(wholeNumber),
    )
    .option('--ak <id>', 'akId of the host’s TPM, as the issuer and status tell it; repeatable', collect, [])
    .action(async (file: string | undefined, flags: VerifyFlags, command: Command) => {
      const options: GlobalOptions = command.optsWithGlobals();
      const given = [file, flags.directory, flags.proof].filter((source) => source !== undefined);
      if (given.length > 1)
        throw new KeydError('malformed_request', 'give a file, --directory or --proof, one of them');
      if (given.length === 1 && flags.key.length === 0) {
        throw new KeydError(
          'malformed_request',
          'without a --key nothing is proven: give the public key of the log, from a source other than the log (agentkey audit key)',
        );
      }
      if (flags.proof !== undefined) {
        proof(flags.proof, flags, options, streams);
        return;
      }
      const report = await reportOf(file, flags, options, streams);
      print(options, streams, toJson(report), () => summary(report));
      requireSound(report.isSound, report.findings, report.more);
    });
}

function reportOf(
  file: string | undefined,
  flags: VerifyFlags,
  options: GlobalOptions,
  streams: Streams,
): Promise<AuditReport> | AuditReport {
  const trust: AuditTrust = {
    keys: flags.key.map(readKey),
    checkpoints: flags.checkpoint.map(readCheckpoint),
    ...(flags.counter === undefined ? {} : { counter: BigInt(flags.counter) }),
    ...(flags.ak.length === 0 ? {} : { akIds: flags.ak }),
  };
  const onProgress = progress(streams, 'verified');
  if (flags.directory !== undefined) return verifyDirectory(flags.directory, trust, onProgress);
  if (file !== undefined) return verifyAuditExport(chunksOf(file), { ...trust, onProgress });
  return verifyDaemon(trust, options, onProgress);
}

/** The log as the daemon gives it, up to a checkpoint of now. Without a key its own is taken: it is asked, not judged. */
function verifyDaemon(
  trust: AuditTrust,
  options: GlobalOptions,
  onProgress: (entries: number, total: number) => void,
): Promise<AuditReport> {
  return withClient(options, 'admin', async (client) => {
    const { checkpoint, publicJwk } = await fetchCheckpoint(client);
    const { size } = parseCheckpoint(checkpoint);
    const keys = trust.keys.length === 0 ? [publicJwk] : trust.keys;
    const verifier = new AuditLogVerifier({ ...trust, keys, own: checkpoint, isSealed: true });
    for await (const octets of fetchEntries(client, 0, size)) {
      verifier.add(Buffer.from(octets, 'utf8'));
      onProgress(verifier.size, size);
    }
    return verifier.end();
  });
}

function proof(file: string, flags: VerifyFlags, options: GlobalOptions, streams: Streams): void {
  const report = verifyAuditProof(readJson(file), flags.key.map(readKey));
  const { entry, findings, head } = report;
  print(options, streams, toJson(report), () =>
    entry === undefined || head === undefined
      ? findings.map(findingLine).join('\n')
      : `proven: entry ${entry.index} of ${head.size} in ${head.origin}`,
  );
  requireSound(report.isSound, findings, 0);
}

function summary({ entries, findings, isSound, more, signed }: AuditReport): string {
  const head =
    signed === undefined
      ? `${entries} entries, none of them signed for`
      : `${entries} entries, ${signed.size} of them signed for, root ${Buffer.from(signed.root).toString('base64')}`;
  return [
    `${isSound ? 'sound' : 'NOT SOUND'}: ${head}`,
    ...findings.map(findingLine),
    ...(more === 0 ? [] : [`and ${more} more faults`]),
  ].join('\n');
}

/** @throws KeydError `verification_failed` */
function requireSound(isSound: boolean, findings: readonly AuditFinding[], more: number): void {
  if (isSound) return;
  const codes = [...new Set(findings.filter(({ severity }) => severity === 'fault').map(({ code }) => code))];
  throw new KeydError(
    'verification_failed',
    `the audit log does not verify: ${codes.join(', ')}${more === 0 ? '' : ' and more'}`,
  );
}

/** Tells on standard error how far it is, once it has taken a second and every second from then on. */
export function progress(streams: Streams, what: string): (entries: number, total?: number) => void {
  let toldAt = performance.now();
  return (entries, total) => {
    const now = performance.now();
    if (now - toldAt < PROGRESS_MS) return;
    toldAt = now;
    streams.err(`${what} ${entries}${total === undefined ? '' : ` of ${total}`} entries\n`);
  };
}
