/** `agentkeyd/verify`: what a resource server needs to know who asks, and that it is asked once. */
export {
  createVerifier,
  type VerifiedRequest,
  type Verifier,
  type VerifierDelegation,
  type VerifierOptions,
} from './verifier.ts';
export {
  verifyDelegationChain,
  type DelegatedAgent,
  type DelegationClock,
  type DelegationRoot,
  type DelegationRules,
  type VerifiedDelegation,
} from './delegation.ts';
export type { DpopProof, MessageProof, PossessionProof, ProvenRequest, WorkloadProof } from './possession.ts';
export {
  StatusLists,
  type StatusAuthority,
  type StatusListsOptions,
  type StatusReference,
} from './status-lists.ts';
export type { Constraint } from '../delegation/constraint.ts';
export type { CredentialSources, PinnedAgent, VerifiedAgent } from './signing-key.ts';
export {
  parseOrigins,
  parseProxies,
  rebuildTarget,
  type Origins,
  type ReceivedRequest,
} from './received-request.ts';
export { MemoryNonceStore, type MemoryNonceStoreOptions, type NonceStore } from './nonce-store.ts';
export { SqliteNonceStore, type SqliteNonceStoreOptions } from './sqlite-nonce-store.ts';
export { trustedKey, trustedKeys, type TrustedKey } from './trusted-keys.ts';
export { verifyWit, type TokenClock, type WitTrust } from './wit.ts';
export { verifyAgentToken, type AgentTokenIssuer } from './agent-token.ts';
export { settlementHeaders, type ResourceCost, type SettledAnswer } from './settlement.ts';
export type { ConfirmedToken } from './confirmed-token.ts';
export {
  verifyWorkloadProof,
  type VerifiedWorkloadProof,
  type WorkloadProofExpectations,
} from './workload-proof.ts';
export { verifyDpop, type DpopExpectations, type VerifiedDpop } from './dpop.ts';
export {
  agentAuth,
  problemHandler,
  sendSettled,
  verifiedBody,
  verifiedJson,
  verifiedRequest,
  type AgentAuthOptions,
} from './express.ts';
export { verifyAuditExport, type AuditExportOptions } from './audit-export.ts';
export {
  AuditLogVerifier,
  type AuditLogOptions,
  type AuditReport,
  type AuditTrust,
} from './audit-log-verifier.ts';
export type { AuditFinding, AuditFindingCode } from './audit-findings.ts';
export {
  verifyAuditConsistency,
  verifyAuditProof,
  type AuditProof,
  type AuditProofReport,
} from './audit-proof.ts';
export type { AuditEntry } from '../wire/audit-entry.ts';
export { KeydError, type ErrorCode, type ProblemDocument } from '../wire/problem.ts';
export type { AssuranceLevel } from '../wire/assurance.ts';
export type { FieldLine } from '../wire/field-lines.ts';
export type { ProfileName } from '../wire/profiles.ts';
export type { PublicJwk } from '../wire/jwk.ts';
export type { TargetUri } from '../wire/target-uri.ts';
