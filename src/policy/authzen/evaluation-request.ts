/**
 * What the external decision point is asked (OpenID AuthZEN Authorization API 1.0, Access Evaluation): the facts
 * that policies may read, under the names of the schema. Never a token, a secret header, the octets that would be
 * signed, or a parameter that the proof does not bind (S3). docs/decision-point.md is this in words.
 */
import type { Charge } from '../counters.ts';
import type { BoundParameter } from '../proposal.ts';
import { agentAttributes, callerAttributes, defined } from '../cedar/attributes.ts';
import { PLAIN } from '../cedar/plain-context.ts';
import { agentType } from '../cedar/scope.ts';
import type { Obligations, PolicyRequest } from '../verdict.ts';
import { sentDocuments, type DocumentName } from './sent-documents.ts';

/** What the configuration lets out, and where it comes from. */
export interface SentFacts {
  /** Documents whose members are sent. */
  readonly documents: ReadonlySet<DocumentName>;
  /** Lower-case names of header fields that are sent where the signature covers them. */
  readonly headers: readonly string[];
  /** Agents of two hosts may share a name. Undefined where no issuer knows this host. */
  readonly host: { readonly label: string; readonly trustDomain: string } | undefined;
}

/** Of the schema's context, what is told of the moment; the rest are the parameters of the call. */
const CIRCUMSTANCES = ['time', 'attestation', 'usage', 'intent', 'authority'] as const;

/** The request as JSON text. */
export function evaluationRequest(request: PolicyRequest, obligations: Obligations, sent: SentFacts): string {
  const { caller, agent, parameters } = request;
  return JSON.stringify({
    subject: { type: 'Caller', id: String(caller.uid), properties: defined(callerAttributes(request)) },
    action: { name: parameters.operation, properties: actionProperties(request, sent) },
    resource: {
      type: agentType(agent.name),
      id: agent.name,
      properties: { ...defined(agentAttributes(request)), id: agent.id, kid: agent.kid },
    },
    context: context(request, obligations, sent),
  });
}

function actionProperties(request: PolicyRequest, sent: SentFacts): Record<string, unknown> {
  const { parameters, facts, endsAtMs } = request;
  const binds: ReadonlySet<BoundParameter> = request.binds ?? new Set();
  const plain = Object.entries(PLAIN)
    .filter(([name]) => !CIRCUMSTANCES.some((circumstance) => circumstance === name))
    .map(([name, read]) => [name, read?.(parameters, facts)] as const);
  return {
    ...Object.fromEntries(plain),
    binds: [...binds].toSorted(),
    ...(endsAtMs === undefined ? {} : { endsAt: new Date(endsAtMs).toISOString() }),
    ...sentDocuments(parameters, binds, sent.documents),
    ...(parameters.operation === 'http-message'
      ? { headers: headers(parameters.headers, binds, sent.headers) }
      : {}),
    ...(parameters.operation === 'delegate'
      ? { allocations: parameters.budgets.map(({ unit, amount }) => ({ unit, amount: String(amount) })) }
      : {}),
  };
}

function context(request: PolicyRequest, obligations: Obligations, sent: SentFacts): Record<string, unknown> {
  const { facts, parameters } = request;
  const plain = CIRCUMSTANCES.map(
    (name) => [name, PLAIN[name]?.(parameters, facts, { instant: false })] as const,
  );
  const { time, ...rest } = Object.fromEntries(plain);
  return {
    ...rest,
    time: { ...(time as object), now: new Date(facts.nowMs).toISOString() },
    ...(sent.host === undefined
      ? {}
      : { host: { label: sent.host.label, trustDomain: sent.host.trustDomain } }),
    budgets: facts.budgets.map(({ unit, amount, spent, allocated }) => ({
      unit,
      remaining: String(amount - spent - allocated),
    })),
    approval: obligations.approval,
    scopes: obligations.scopes,
    charges: obligations.charges.map(chargeMembers),
  };
}

/** Whole numbers of the smallest part as text: JSON has no exact ones. */
function chargeMembers(charge: Charge): Record<string, string> {
  const { kind, unit, amount } = charge;
  const common = { kind, unit, amount: String(amount) };
  if (charge.kind === 'budget') return common;
  const { policy, per, window, limit } = charge;
  return { ...common, policy, per, window, limit: String(limit) };
}

/** What is judged is covered by the signature (S7): of the fields asked for, those the proof binds. */
function headers(
  lines: readonly (readonly [string, string])[],
  binds: ReadonlySet<BoundParameter>,
  wanted: readonly string[],
): Record<string, string> {
  return Object.fromEntries(
    wanted.flatMap((name) => {
      const values = lines.filter(([given]) => given === name).map(([, value]) => value);
      return values.length > 0 && binds.has(`header:${name}`) ? [[name, values.join(', ')] as const] : [];
    }),
  );
}
