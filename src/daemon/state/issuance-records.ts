import type { CredentialRecord, HostRecord, IssuanceStore } from '../../issuance/issuance-store.ts';
import type { DocumentStore } from './documents.ts';

const HOST = 'issuance-host';
const CREDENTIALS = 'credentials';
/** There is one issuer, so one host record. */
const THE_HOST = 'host';

/** Records of credentials that are kept read; each has some kilobytes. */
const MAX_READ = 512;

/**
 * What the issuance room remembers, as documents in state.db. Every signature asks for the host and its agent's
 * credentials, so that what was read or written last is kept in memory; a write is on disk before it is there.
 */
export function openIssuanceStore(documents: DocumentStore): IssuanceStore {
  let host = documents.get(HOST, THE_HOST) as HostRecord | undefined;
  const read = new Map<string, CredentialRecord | undefined>();
  const keep = (agentId: string, record: CredentialRecord | undefined): void => {
    if (read.size >= MAX_READ) read.clear();
    read.set(agentId, record);
  };
  return {
    host: () => host,
    putHost(record) {
      documents.put(HOST, THE_HOST, record);
      host = record;
    },
    credentials(agentId) {
      if (read.has(agentId)) return read.get(agentId);
      const record = documents.get(CREDENTIALS, agentId) as CredentialRecord | undefined;
      keep(agentId, record);
      return record;
    },
    putCredentials(record) {
      documents.put(CREDENTIALS, record.agentId, record);
      keep(record.agentId, record);
    },
    deleteCredentials(agentId) {
      documents.delete(CREDENTIALS, agentId);
      read.delete(agentId);
    },
  };
}
