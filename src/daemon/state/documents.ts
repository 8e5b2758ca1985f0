import type { DatabaseSync } from 'node:sqlite';
import { jsonColumn } from './columns.ts';

/** JSON records by kind and id. A returned write is on disk. */
export interface DocumentStore {
  get(kind: string, id: string): unknown;
  put(kind: string, id: string, document: unknown): void;
  delete(kind: string, id: string): void;
}

export function openDocumentStore(database: DatabaseSync): DocumentStore {
  const get = database.prepare('SELECT json FROM documents WHERE kind = ? AND id = ?');
  const put = database.prepare('INSERT OR REPLACE INTO documents (kind, id, json) VALUES (?, ?, ?)');
  const remove = database.prepare('DELETE FROM documents WHERE kind = ? AND id = ?');
  return {
    get(kind, id) {
      const row = get.get(kind, id);
      return row === undefined ? undefined : jsonColumn(row, 'json');
    },
    put(kind, id, document) {
      put.run(kind, id, JSON.stringify(document));
    },
    delete(kind, id) {
      remove.run(kind, id);
    },
  };
}
