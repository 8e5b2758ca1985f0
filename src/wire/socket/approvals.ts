/** Socket API: approvals (docs/openapi.yaml), what a person has to allow before it is done. */

export type ApprovalState = 'pending' | 'allowed' | 'denied' | 'expired' | 'used' | 'void';

/** An approval as the socket shows it. */
export interface ApprovalView {
  readonly id: string;
  readonly state: ApprovalState;
  /** base64url SHA-256 of exactly what is asked for. */
  readonly digest: string;
  readonly level: 'person' | 'passkey';
  readonly agent: string;
  readonly operation: string;
  readonly summary: Readonly<Record<string, unknown>>;
  readonly charges: readonly { readonly unit: string; readonly amount: string }[];
  readonly policies: readonly string[];
  readonly requesterUid: number;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly decidedByUid: number | null;
}

/** Answer 202 of whatever a person has to allow first. */
export interface PendingReply {
  readonly approval: ApprovalView;
}
