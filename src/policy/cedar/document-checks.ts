/** Denials before Cedar is asked: what policies would read of a document and can not be judged exactly (S7). */
import type { CompiledPolicy } from './compile-policy.ts';
import type { Denial } from './denial.ts';
import type { DocumentName, RequestDocuments } from './documents.ts';
import { exactNumber, isCedarDecimal, type Members } from './members.ts';

const NAMES = { body: 'body', query: 'query', claims: 'JWT' } as const;

/** Policies by a document that they read. */
export type DocumentReaders = ReadonlyMap<DocumentName, readonly CompiledPolicy[]>;

export function documentReaders(policies: readonly CompiledPolicy[]): DocumentReaders {
  const readers = new Map<DocumentName, readonly CompiledPolicy[]>();
  for (const name of ['body', 'query', 'claims'] as const) {
    const those = policies.filter(({ reads }) => reads.context.has(name));
    if (those.length > 0) readers.set(name, those);
  }
  return readers;
}

/** The first reason against judging the request by policies that can apply to it, or undefined. */
export function documentDenial(
  readersByDocument: DocumentReaders,
  documents: RequestDocuments,
): Denial | undefined {
  for (const [name, readers] of readersByDocument) {
    const document = documents.get(name);
    if ('unreadable' in document) {
      const reason = `policies read the ${NAMES[name]}, and it ${document.unreadable}`;
      return { code: 'policy_denied', policies: idsOf(readers), reason };
    }
    const inexact = inexactNumber(name, document) ?? noNumber(name, document, readers);
    if (inexact !== undefined) {
      return {
        code: 'amount_not_exact',
        policies: idsOf(readers),
        reason: `in the ${NAMES[name]}, ${inexact}`,
      };
    }
  }
  return undefined;
}

function idsOf(policies: readonly CompiledPolicy[]): readonly string[] {
  return policies.map(({ id }) => id);
}

/** Of a JSON document, every number must be exact: what is not read may be an amount too (DECISIONS 20). */
function inexactNumber(name: DocumentName, { leaves }: Members): string | undefined {
  if (name === 'query') return undefined;
  for (const [pointer, leaf] of leaves) {
    if (leaf.kind === 'number' && !isCedarDecimal(leaf.value)) {
      return `the number at ${pointer} has no exact decimal of 4 places`;
    }
  }
  return undefined;
}

/** Where a policy compares a number, something else would slip by a forbid. */
function noNumber(
  name: DocumentName,
  { leaves }: Members,
  readers: readonly CompiledPolicy[],
): string | undefined {
  for (const { id, reads } of readers) {
    for (const pointer of reads.numbers.get(name) ?? []) {
      const leaf = leaves.get(pointer);
      const number = exactNumber(leaf, name === 'query');
      const isExact = number !== undefined && isCedarDecimal(number);
      if ((leaf !== undefined && !isExact) || hasLeavesBelow(leaves, pointer))
        return `what is at ${pointer} is no number, and ${id} compares it`;
    }
  }
  return undefined;
}

function hasLeavesBelow(leaves: Members['leaves'], pointer: string): boolean {
  for (const other of leaves.keys()) if (other.startsWith(`${pointer}/`)) return true;
  return false;
}
