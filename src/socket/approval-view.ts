import type { Approval } from '../policy/approval-desk.ts';
import type { ApprovalView } from '../wire/socket/approvals.ts';

/** An approval as the socket shows it. */
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
