/** Verifies an exported audit log as it is read, a million entries in seconds. */
import { MAX_EXPORT_HEADER_OCTETS, parseExportHeader } from '../wire/audit-export.ts';
import { MAX_ENTRY_OCTETS } from '../wire/audit-entry.ts';
import { asKeydError } from '../wire/problem.ts';
import { finding } from './audit-findings.ts';
import {
  AuditLogVerifier,
  type AuditLogOptions,
  type AuditReport,
  type AuditTrust,
} from './audit-log-verifier.ts';

export interface AuditExportOptions extends AuditTrust, Pick<AuditLogOptions, 'onEntry'> {
  /** Called about every 10,000 entries. @param total as the export says it */
  readonly onProgress?: (entries: number, total: number) => void;
}

const PROGRESS_ENTRIES = 10_000;
const LINE_FEED = 0x0a;

/**
 * Everything that is wrong with an export, by name; nothing but the keys is taken on trust.
 * @param chunks the file's octets, however they are cut
 * @throws KeydError `malformed_request` for an unusable key; what reading the chunks throws
 */
export async function verifyAuditExport(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: AuditExportOptions,
): Promise<AuditReport> {
  let verifier: AuditLogVerifier | undefined;
  let total = 0;
  const takeLine = (line: Uint8Array): AuditLogVerifier => {
    if (verifier === undefined) {
      [verifier, total] = begin(line, options);
      return verifier;
    }
    verifier.add(line);
    if (verifier.size % PROGRESS_ENTRIES === 0) options.onProgress?.(verifier.size, total);
    return verifier;
  };
  let rest: Uint8Array = new Uint8Array();
  for await (const chunk of chunks) {
    const octets = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = octets.indexOf(LINE_FEED); end >= 0; end = octets.indexOf(LINE_FEED, start)) {
      takeLine(octets.subarray(start, end));
      start = end + 1;
    }
    rest = octets.subarray(start);
    const longest = verifier === undefined ? MAX_EXPORT_HEADER_OCTETS : MAX_ENTRY_OCTETS;
    if (rest.length > longest) {
      verifier ??= takeLine(new Uint8Array());
      verifier.tell(
        finding('export_malformed', `line ${verifier.size + 2} is longer than ${longest} octets`),
      );
      return verifier.end();
    }
  }
  verifier ??= takeLine(rest);
  if (rest.length > 0)
    verifier.tell(finding('export_malformed', `the export ends within its line ${verifier.size + 2}`));
  return verifier.end();
}

function begin(line: Uint8Array, options: AuditExportOptions): readonly [AuditLogVerifier, number] {
  const { akIds, keys, checkpoints, counter, onEntry } = options;
  const trust = {
    keys,
    ...(checkpoints === undefined ? {} : { checkpoints }),
    ...(counter === undefined ? {} : { counter }),
    ...(akIds === undefined ? {} : { akIds }),
    ...(onEntry === undefined ? {} : { onEntry }),
    isSealed: true,
  };
  try {
    const { checkpoint, size } = parseExportHeader(line);
    return [new AuditLogVerifier({ ...trust, own: checkpoint }), size];
  } catch (thrown) {
    const verifier = new AuditLogVerifier(trust);
    const { message } = asKeydError(thrown);
    verifier.tell(finding('export_malformed', `the first line is no header of an export: ${message}`));
    return [verifier, 0];
  }
}
