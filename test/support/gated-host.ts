/** A granted host whose signatures an external decision point has to permit as well. */
import { startGrantedHost, type GrantedHost } from './granted-host.ts';
import type { SocketAnswer } from './http-over-socket.ts';

/** Payments from the grant's budget, and reading. */
const POLICIES = `
@id("pay")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource in Agent::"payments")
when {
  ["/amount", "/payee"].containsAll(context.body.members) && principal.uid == resource.ownerUid &&
  context.method == "POST" && context.path == "/v1/payments"
};
@id("no-free-posts")
forbid (principal, action == Action::"http-message", resource in Agent::"payments")
when { context.method == "POST" && context.path != "/v1/payments" };
`;

export interface GatedHost extends GrantedHost {
  /** Signs a payment of this amount by the agent `payments`. */
  pay(amount: string, more?: Readonly<Record<string, unknown>>): Promise<SocketAnswer>;
  read(url?: string): Promise<SocketAnswer>;
  /** Smallest parts of the agent's budget. */
  budget(): Promise<{ readonly spent: string; readonly reserved: string }>;
  /** Decisions of the audit log about signing, oldest first. */
  decisions(): Promise<readonly AuditedDecision[]>;
}

export interface AuditedDecision {
  readonly kind: string;
  readonly effect: string;
  readonly action: string;
  readonly policies: readonly string[];
  readonly refusal?: string;
}

export const PAYEE = 'DE89370400440532013000';

/** @param decisionPoint `[policy.decision_point]` */
export async function startGatedHost(decisionPoint: Readonly<Record<string, unknown>>): Promise<GatedHost> {
  const uid = process.getuid?.() ?? 0;
  const host = await startGrantedHost({
    policies: { 'gated.cedar': POLICIES },
    config: {
      policy: {
        create: [{ uids: [uid], names: ['*'] }],
        roles: { operate: [{ uids: [uid] }] },
        jwt_types: ['*'],
        decision_point: decisionPoint,
      },
    },
  });
  const sign = (parameters: Readonly<Record<string, unknown>>): Promise<SocketAnswer> =>
    host.daemon.request('POST', '/v1/agents/payments/sign/http-message', {
      profile: 'rfc9421',
      ...parameters,
    });
  return {
    ...host,
    pay: (amount, more = {}) =>
      sign({
        method: 'POST',
        targetUri: 'https://bank.example/v1/payments',
        headers: [['content-type', 'application/json']],
        body: Buffer.from(`{"amount":${amount},"payee":"${PAYEE}"}`).toString('base64url'),
        ...more,
      }),
    read: (url = 'https://api.example/') => sign({ method: 'GET', targetUri: url }),
    budget: async () => {
      const { json } = await host.daemon.request('GET', '/v1/agents/payments/budget');
      const [first] = (json as { budgets: readonly { spent: string; reserved: string }[] }).budgets;
      if (first === undefined) throw new Error('no budget');
      return { spent: first.spent, reserved: first.reserved };
    },
    decisions: async () => {
      const { json } = await host.daemon.admin('GET', '/v1/audit/entries?from=0&limit=1000');
      const { entries } = json as { entries: readonly string[] };
      return entries
        .map((entry) => JSON.parse(entry) as AuditedDecision)
        .filter(({ kind, action }) => kind === 'decision' && action === 'http-message');
    },
  };
}

export const codeOfAnswer = ({ status, json }: SocketAnswer): string =>
  status === 200 ? 'signed' : ((json as { code?: string }).code ?? String(status));
