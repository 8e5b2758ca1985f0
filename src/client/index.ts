/** `agentkeyd/client`: the SDK. No dependencies. */
export {
  AgentKeyClient,
  connect,
  DEFAULT_SOCKET,
  type ClientOptions,
  type CreateAgentOptions,
} from './client.ts';
export { PendingApprovalError, type ApprovalOptions, type SignOptions } from './approvals.ts';
export { AgentHandle, EphemeralAgent } from './agent-handle.ts';
export type { DelegateOptions } from './delegating.ts';
export type { HttpMessageInput } from './http-message-input.ts';
export type { Retirement } from './retirement.ts';
export { signingFetch, type SigningFetchOptions } from './signing-fetch.ts';
export type { SettlementAnswer, SettlementOutcome, SignedMessage } from './settlement.ts';
export { jwtSigner, rawMessageSigner, type JwtSigner, type MessageSigningKey } from './signers.ts';
export { SocketTransport, type Answer, type CallOptions, type TransportOptions } from './socket-transport.ts';
export { KeydError, type ErrorCode, type ProblemDocument } from '../wire/problem.ts';
export type { AgentView, CredentialsView, DelegationView } from '../wire/socket/agents.ts';
export type { BudgetView } from '../wire/socket/budget.ts';
export type { ApprovalView } from '../wire/socket/approvals.ts';
export type { Intent, MessageIntent } from '../wire/socket/intent.ts';
export type { PublicJwk } from '../wire/jwk.ts';
