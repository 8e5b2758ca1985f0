import type { CredentialRecord, HostRecord, IssuanceStore } from '../../issuance/issuance-store.ts';
import type { DocumentStore } from './documents.ts';

const HOST = 'issuance-host';
const CREDENTIALS = 'credentials';
/** There is one issuer, so one host record. */
const THE_HOST = 'host';

/** What the issuance room remembers, as documents in state.db. */
export function openIssuanceStore(documents: DocumentStore): IssuanceStore {
  return {
    host: () => documents.get(HOST, THE_HOST) as HostRecord | undefined,
    putHost(record) {
      documents.put(HOST, THE_HOST, record);
    },
    credentials: (agentId) => documents.get(CREDENTIALS, agentId) as CredentialRecord | undefined,
    putCredentials(record) {
      documents.put(CREDENTIALS, record.agentId, record);
    },
    deleteCredentials(agentId) {
      documents.delete(CREDENTIALS, agentId);
    },
  };
}
