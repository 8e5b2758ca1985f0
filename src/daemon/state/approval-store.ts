import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import type { Approval, ApprovalStore } from '../../policy/approval-desk.ts';
import { jsonColumn } from './columns.ts';

export function openApprovalStore(database: DatabaseSync): ApprovalStore {
  const put = database.prepare(
    'INSERT OR REPLACE INTO approvals (id, created_at_ms, expires_at_ms, json) VALUES (?, ?, ?, ?)',
  );
  const find = database.prepare('SELECT json FROM approvals WHERE id = ?');
  const list = database.prepare('SELECT json FROM approvals ORDER BY created_at_ms DESC LIMIT ?');
  const prune = database.prepare('DELETE FROM approvals WHERE expires_at_ms < ?');
  const read = (row: Readonly<Record<string, SQLOutputValue>>): Approval => {
    const approval = jsonColumn(row, 'json') as Approval;
    return { ...approval, decidedBy: approval.decidedBy };
  };
  return {
    put(approval) {
      put.run(approval.id, approval.createdAtMs, approval.expiresAtMs, JSON.stringify(approval));
    },
    find(id) {
      const row = find.get(id);
      return row === undefined ? undefined : read(row);
    },
    // SQLite's own word for no limit is -1.
    list: (limit) => list.all(Number.isFinite(limit) ? limit : -1).map(read),
    prune(beforeMs) {
      prune.run(beforeMs);
    },
  };
}
