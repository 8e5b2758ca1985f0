/** Names of purses: a budget is an account's in one unit; a limit is a policy's in one window. */
import type { Charge, Payer, Window } from './charge.ts';

export function budgetKey(account: string, unit: string): string {
  return `${account}|${unit}`;
}

/** Windows are minutes, hours and days of UTC; a lifetime begins with the grant. */
export function limitKey(charge: Extract<Charge, { kind: 'limit' }>, payer: Payer, nowMs: number): string {
  const whose = charge.per === 'agent' ? `agent:${payer.agentId}` : `grant:${payer.grantId}`;
  const window = `${charge.window}:${windowStart(charge.window, nowMs)}`;
  return `limit:${charge.policy}|${whose}|${window}|${charge.unit}`;
}

/** A limit as its purse's key names it. */
export interface LimitName {
  readonly policy: string;
  /** `grant:` or `agent:` and the id. */
  readonly whose: string;
  readonly window: Window;
  readonly unit: string;
}

/** Undefined for the key of a budget. */
export function limitOf(key: string): LimitName | undefined {
  const [, policy, whose, window, unit] =
    /^limit:([^|]+)\|((?:grant|agent):[^|]+)\|(minute|hour|day|lifetime):\d+\|([^|]+)$/.exec(key) ?? [];
  return policy === undefined || whose === undefined || window === undefined || unit === undefined
    ? undefined
    : { policy, whose, window: window as Window, unit };
}

const WINDOW_MS: Readonly<Record<Exclude<Window, 'lifetime'>, number>> = {
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

function windowStart(window: Window, nowMs: number): number {
  return window === 'lifetime' ? 0 : Math.floor(nowMs / WINDOW_MS[window]);
}

/** When the window of a limit's purse is over, milliseconds since the epoch; Infinity for a lifetime. */
export function limitEndsAtMs(key: string): number {
  const match = /\|(minute|hour|day):(\d+)\|/.exec(key);
  const [, window, start] = match ?? [];
  if (window === undefined || start === undefined) return Infinity;
  return (Number(start) + 1) * WINDOW_MS[window as keyof typeof WINDOW_MS];
}
