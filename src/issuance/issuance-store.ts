/** What the issuance room remembers: one host record and credentials per agent. A resolved write is durable. */
import type { IssuerMetadata } from '../wire/issuance/metadata.ts';
import type { Standing } from '../wire/issuance/enrolment.ts';
import type { IssuedCredentials } from '../wire/issuance/issue.ts';

/** This host as its issuer knows it. */
export interface HostRecord {
  /** UUIDs of the two host keys in the TPM backend (DECISIONS 11). */
  readonly hostKeyId: string;
  readonly auditKeyId: string;
  /** Pinned at enrolment; a changed challenge key is refused, never learned. */
  readonly issuer: IssuerMetadata;
  readonly standing: Standing;
  /** TPMS_NV_PUBLIC of the counter that was enrolled, base64url; absent where there was none. */
  readonly counter?: string;
}

/** Credentials for one key of one agent. */
export interface CredentialRecord {
  readonly agentId: string;
  /** Thumbprint of the key they are bound to; after a rotation they are void. */
  readonly kid: string;
  readonly issued: IssuedCredentials;
}

export interface IssuanceStore {
  host(): HostRecord | undefined;
  putHost(record: HostRecord): void;
  credentials(agentId: string): CredentialRecord | undefined;
  putCredentials(record: CredentialRecord): void;
  deleteCredentials(agentId: string): void;
}
