/** Entries and findings of the audit log, one line each. */
import type { AuditEntry, AuditFinding } from '../verify/index.ts';
import { shown } from './shown.ts';

/** `INDEX TIME WHAT ...`: what a person looks for first. */
export function entryLine(entry: AuditEntry): string {
  return shown(`${entry.index}  ${new Date(entry.at).toISOString()}  ${summary(entry)}`);
}

function summary(entry: AuditEntry): string {
  switch (entry.kind) {
    case 'decision': {
      const { action, agent, authority, caller, effect, parameters, policies, refusal } = entry;
      return [
        effect,
        action,
        agent?.name ?? '-',
        `uid:${caller.uid}`,
        ...(authority === undefined ? [] : [`for:${authority.principal}`]),
        ...['method', 'origin', 'path', 'typ', 'name'].flatMap((name) => text(parameters[name])),
        ...(refusal === undefined ? [] : [refusal]),
        `(${policies.join(', ')})`,
      ].join(' ');
    }
    case 'outcome': {
      const { code, decision, effect, settlement } = entry;
      return [effect, `of ${decision}`, ...text(code), ...text(settlement)].join(' ');
    }
    case 'denials':
      return `${entry.count} more denials of ${entry.share} since ${new Date(entry.since).toISOString()}`;
    case 'checkpoint':
      return `checkpoint over ${entry.note.split('\n')[1] ?? '?'} entries`;
    case 'anchor':
      return `anchor at ${entry.value}`;
    case 'command-audit': {
      const { effect, reason, signed } = entry;
      return [`command audit: ${effect}`, ...text(reason), `${signed} signed`].join(' ');
    }
    case 'event':
      return [
        entry.event,
        ...Object.entries(entry.detail).map(([name, value]) => `${name}=${String(value)}`),
      ].join(' ');
  }
}

export function findingLine({ code, severity, from, to, detail }: AuditFinding): string {
  const where =
    from === undefined ? '' : to === undefined || to === from + 1 ? ` ${from}` : ` ${from}-${to - 1}`;
  return shown(`${severity}  ${code}${where}: ${detail}`);
}

function text(value: unknown): readonly string[] {
  return typeof value === 'string' ? [value] : [];
}
