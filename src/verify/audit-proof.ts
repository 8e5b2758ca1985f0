/** Single proofs of an audit log: that an entry stands in it, and that one head goes on from another. */
import { parseAuditEntry, type AuditEntry } from '../wire/audit-entry.ts';
import { anyJson, array, integer, object, octets, optional, parse, text, type Infer } from '../wire/check.ts';
import type { TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { leafHash, verifyConsistency, verifyInclusion, type Hash } from '../wire/merkle.ts';
import { asKeydError } from '../wire/problem.ts';
import { finding, type AuditFinding } from './audit-findings.ts';
import { AuditNotes } from './audit-notes.ts';

const HASH_OCTETS = 32;
/** Ample for 2^53 entries. */
const MAX_STEPS = 64;
const steps = array(text({ maxLength: 43 }), { max: MAX_STEPS });

const proofShape = object({
  index: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  /** Octets of the entry, as text: the leaf is over exactly these. */
  entry: text({ maxLength: 65_536 }),
  /** base64url, from the leaf up (RFC 9162 §2.1.3). */
  proof: steps,
  /** Signed note (C2SP tlog-checkpoint). */
  checkpoint: text({ maxLength: 2048 }),
  /** Of whoever made the proof; not trusted. */
  publicJwk: optional(anyJson),
});

export type AuditProof = Infer<typeof proofShape>;

export interface AuditProofReport {
  readonly isSound: boolean;
  readonly findings: readonly AuditFinding[];
  /** Undefined unless it is sound. */
  readonly entry: AuditEntry | undefined;
  readonly head: TreeHead | undefined;
}

/**
 * Whether an entry stands in the log at its place, by nothing but the audit keys of the host.
 * @param value parsed JSON of `agentkey audit prove`
 */
export function verifyAuditProof(value: unknown, keys: readonly PublicJwk[]): AuditProofReport {
  const findings: AuditFinding[] = [];
  const fail = (found: AuditFinding): AuditProofReport => ({
    isSound: false,
    findings: [...findings, found],
    entry: undefined,
    head: undefined,
  });
  let proof: AuditProof;
  let path: readonly Hash[];
  try {
    proof = parse(proofShape, value);
    path = hashes(proof.proof);
  } catch (thrown) {
    return fail(finding('proof_invalid', `this is no proof: ${asKeydError(thrown).message}`));
  }
  const { index } = proof;
  const notes = new AuditNotes(keys, (found) => findings.push(found));
  const head = notes.trusted(proof.checkpoint, 'of the proof');
  if (head === undefined) return { isSound: false, findings, entry: undefined, head };
  const leaf = Buffer.from(proof.entry, 'utf8');
  if (!verifyInclusion(leafHash(leaf), index, head.size, path, head.root)) {
    const detail = `the log of ${head.size} entries has another entry ${index}, or the path does not lead to it`;
    return fail(finding('proof_invalid', detail, index));
  }
  let entry: AuditEntry;
  try {
    entry = parseAuditEntry(leaf);
  } catch (thrown) {
    return fail(finding('entry_malformed', asKeydError(thrown).message, index));
  }
  if (entry.index !== index)
    return fail(
      finding('entry_reordered', `entry ${index} says of itself that it is entry ${entry.index}`, index),
    );
  return { isSound: true, findings, entry, head };
}

/**
 * Whether the log of the second checkpoint goes on from that of the first: what a witness asks each time.
 * @param proof base64url (RFC 9162 §2.1.4)
 */
export function verifyAuditConsistency(
  first: string,
  second: string,
  proof: readonly string[],
  keys: readonly PublicJwk[],
): AuditFinding | undefined {
  const findings: AuditFinding[] = [];
  const notes = new AuditNotes(keys, (found) => findings.push(found));
  const from = notes.trusted(first, 'seen before');
  const to = notes.trusted(second, 'of now');
  if (from === undefined || to === undefined) return findings[0];
  if (to.size < from.size) {
    const detail = `the log had ${from.size} entries, and has ${to.size} now`;
    return finding('log_restored', detail, to.size, from.size);
  }
  let path: readonly Hash[];
  try {
    path = hashes(parse(steps, proof));
  } catch (thrown) {
    return finding('proof_invalid', asKeydError(thrown).message);
  }
  if (verifyConsistency(from.size, to.size, path, from.root, to.root)) return undefined;
  return from.size === to.size
    ? finding('log_forked', `two checkpoints over ${from.size} entries have different roots`)
    : finding('proof_invalid', 'the path does not lead from the first checkpoint to the second');
}

/** @throws KeydError `malformed_request` */
function hashes(path: readonly string[]): readonly Hash[] {
  return path.map((step) => parse(octets({ min: HASH_OCTETS, max: HASH_OCTETS }), step));
}
