import type { Approval, ApprovalState } from '../policy/approval-desk.ts';

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

export function approvalView(approval: Approval): ApprovalView {
  const { id, state, digest, level, agentName, operation, summary, charges, policies } = approval;
  return {
    id,
    state,
    digest,
    level,
    agent: agentName,
    operation,
    summary,
    charges,
    policies,
    requesterUid: approval.requester.uid,
    createdAt: new Date(approval.createdAtMs).toISOString(),
    expiresAt: new Date(approval.expiresAtMs).toISOString(),
    decidedByUid: approval.decidedBy?.uid ?? null,
  };
}
