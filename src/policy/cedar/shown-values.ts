/** What a request says where policies read it, for people. */
import type { PolicyRequest } from '../verdict.ts';
import { agentAttributes, callerAttributes, type Attributes } from './attributes.ts';
import type { RequestDocuments } from './documents.ts';
import type { LeafValue } from './members.ts';
import { PLAIN } from './plain-context.ts';
import type { Reads } from './reads.ts';
import { taggedValue } from './tagged-context.ts';

const ABSENT = 'absent';

/** By path as policies write it: `principal.uid`, `context.method`, `context.body["/amount"]`. */
export function shownValues(
  reads: Reads,
  request: PolicyRequest,
  documents: RequestDocuments,
): Readonly<Record<string, string>> {
  const shown: Record<string, string> = {};
  const show = (variable: string, names: ReadonlySet<string>, attributes: Attributes): void => {
    for (const name of names) shown[`${variable}.${name}`] = json(attributes[name]);
  };
  show('principal', reads.principal, callerAttributes(request));
  show('resource', reads.resource, agentAttributes(request));
  const { parameters, facts } = request;
  for (const name of reads.context) {
    const plain = PLAIN[name];
    if (name === 'time') shown['context.time'] = instant(facts.nowMs);
    else if (plain !== undefined) shown[`context.${name}`] = json(plain(parameters, facts));
  }
  for (const tagged of reads.whole) {
    const value = taggedValue(tagged, parameters, facts, documents);
    for (const [name, of] of Object.entries(value?.attributes() ?? {})) {
      shown[`context.${tagged}.${name}`] = JSON.stringify(of);
    }
  }
  for (const [tagged, tags] of reads.tags) {
    const value = taggedValue(tagged, parameters, facts, documents);
    for (const tag of tags) {
      const path = `context.${tagged}[${JSON.stringify(tag)}]`;
      if (tagged === 'body' || tagged === 'query' || tagged === 'claims') {
        const document = documents.get(tagged);
        shown[path] = 'leaves' in document ? leafText(document.leaves.get(tag)) : document.unreadable;
      } else {
        shown[path] = json(value?.tag(tag, false));
      }
    }
  }
  return shown;
}

function instant(nowMs: number): string {
  const now = new Date(nowMs);
  return `${now.toLocaleDateString('en-GB', { weekday: 'long', timeZone: 'UTC' })}, ${now.toISOString()}`;
}

function json(value: unknown): string {
  return value === undefined ? ABSENT : JSON.stringify(value);
}

/** Numbers as they were written; text in quotes, so that "3000" and 3000 differ. */
function leafText(leaf: LeafValue | undefined): string {
  switch (leaf?.kind) {
    case undefined:
      return ABSENT;
    case 'number':
      return leaf.value.text;
    case 'nothing':
      return 'null or empty';
    case 'text':
    case 'boolean':
      return JSON.stringify(leaf.value);
  }
}
