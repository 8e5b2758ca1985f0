/** Body, query and claims as the decision point is shown them: leaves by JSON Pointer, as policies name them. */
import { RequestDocuments, type DocumentName } from '../cedar/documents.ts';
import type { LeafValue, Members } from '../cedar/members.ts';
import type { BoundParameter } from '../proposal.ts';
import type { JudgedParameters } from '../verdict.ts';

export type { DocumentName } from '../cedar/documents.ts';

export const DOCUMENT_NAMES = ['body', 'query', 'claims'] as const satisfies readonly DocumentName[];

/** What can not be judged says why, and shows nothing. */
export type SentDocument =
  | { readonly members: Readonly<Record<string, string | number | boolean | null>> }
  | { readonly unreadable: string };

/** JSON characters of one document. */
const MAX_CHARACTERS = 262_144;

/** The documents that the operation has. */
export function sentDocuments(
  parameters: JudgedParameters,
  binds: ReadonlySet<BoundParameter>,
  wanted: ReadonlySet<DocumentName>,
): Readonly<Partial<Record<DocumentName, SentDocument>>> {
  const documents = new RequestDocuments(parameters);
  const sent: Partial<Record<DocumentName, SentDocument>> = {};
  for (const name of namesOf(parameters)) {
    if (!wanted.has(name)) sent[name] = { unreadable: 'is not sent to the decision point' };
    else if (!binds.has(name) && !isAbsent(name, parameters)) {
      sent[name] = { unreadable: 'is not bound by the proof' };
    } else {
      const document = documents.get(name);
      sent[name] = 'leaves' in document ? membersOf(document) : document;
    }
  }
  return sent;
}

function namesOf({ operation }: JudgedParameters): readonly DocumentName[] {
  if (operation === 'http-message') return ['body', 'query'];
  return operation === 'jwt' ? ['claims'] : [];
}

/** Where there is nothing, there is nothing to bind. */
function isAbsent(name: DocumentName, parameters: JudgedParameters): boolean {
  if (parameters.operation !== 'http-message') return false;
  return name === 'body'
    ? parameters.content.kind === 'none'
    : name === 'query' && parameters.target.query === undefined;
}

function membersOf({ leaves }: Members): SentDocument {
  const members: Record<string, string | number | boolean | null> = {};
  for (const [pointer, leaf] of leaves) {
    const value = plainValue(leaf);
    if (value === undefined) return { unreadable: `has a number at ${pointer} that a double would change` };
    members[pointer] = value;
  }
  return JSON.stringify(members).length > MAX_CHARACTERS
    ? { unreadable: `is longer than ${MAX_CHARACTERS} characters` }
    : { members };
}

/** Undefined for a number that two decision points could read differently (S7). */
function plainValue(leaf: LeafValue): string | number | boolean | null | undefined {
  switch (leaf.kind) {
    case 'text':
    case 'boolean':
      return leaf.value;
    case 'number':
      return leaf.value.toNumber();
    case 'nothing':
      return null;
  }
}
