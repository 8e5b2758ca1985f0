/**
 * An exported audit log: one line that says what follows and is signed as a checkpoint, then one line an entry,
 * each exactly the octets that the tree is over. A leaf of RFC 9162 is a line without its line feed.
 */
import { integer, object, oneOf, parse, text, type Infer } from './check.ts';
import { parsePublicJwk, type PublicJwk } from './jwk.ts';
import { parseStrictJson } from './strict-json.ts';

/** In the state directory: the journal's name, and the file with its newest checkpoint. */
export const AUDIT_JOURNAL = 'audit';
export const AUDIT_CHECKPOINT_FILE = 'checkpoint';

export const MAX_EXPORT_HEADER_OCTETS = 16_384;
const FORMAT = 'agentkeyd-audit-export';
const LIMITS = { maxDepth: 3, maxOctets: MAX_EXPORT_HEADER_OCTETS } as const;

const publicJwk = (value: unknown, path: string, faults: string[]): PublicJwk => {
  try {
    return parsePublicJwk(value, path);
  } catch {
    faults.push(`${path} is no public key`);
    return undefined as never;
  }
};

const header = object({
  format: oneOf([FORMAT]),
  version: integer({ min: 1, max: 1 }),
  /** Entries that follow: all that the checkpoint is over. */
  size: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  checkpoint: text({ maxLength: 2048 }),
  /** For a reader to compare with the key it trusts; it is not to be trusted for standing here. */
  publicJwk,
});

/** A checkpoint and the key that is said to have signed it. */
const signedNote = object({ note: text({ maxLength: 2048 }), publicJwk });

export type AuditExportHeader = Infer<typeof header>;

/** The first line, with its line feed. */
export function encodeExportHeader(checkpoint: string, size: number, publicJwk: PublicJwk): string {
  return `${JSON.stringify({ format: FORMAT, version: 1, size, checkpoint, publicJwk })}\n`;
}

/** @throws KeydError `malformed_json`, `malformed_structure` */
export function parseExportHeader(line: Uint8Array): AuditExportHeader {
  return parse(header, parseStrictJson(line, LIMITS), 'malformed_structure');
}

/** The file with the newest checkpoint. @throws KeydError `malformed_json`, `malformed_structure` */
export function parseCheckpointFile(octets: Uint8Array): Infer<typeof signedNote> {
  return parse(signedNote, parseStrictJson(octets, LIMITS), 'malformed_structure');
}
