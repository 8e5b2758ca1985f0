/** What is charged, to whom, and what became of it. Amounts are exact: whole numbers of a unit's smallest part. */

export const WINDOWS = ['minute', 'hour', 'day', 'lifetime'] as const;
export type Window = (typeof WINDOWS)[number];

/** `USD.2`: the unit and its decimals. An amount is a whole number of the smallest part: 3000.00 is 300000n. */
export type UnitName = string;

/** The unit of `@limit` that counts signatures. */
export const USES: UnitName = 'uses.0';

/** Something that one action takes, all of an action's charges or none. */
export type Charge =
  /** From the budget of the agent's grant or delegation. */
  | { readonly kind: 'budget'; readonly unit: UnitName; readonly amount: bigint }
  /** From a limit that a policy sets: `limit` units a window, shared by the grant or by one agent each. */
  | {
      readonly kind: 'limit';
      /** The policy's id. */
      readonly policy: string;
      readonly per: 'grant' | 'agent';
      readonly window: Window;
      readonly limit: bigint;
      readonly unit: UnitName;
      readonly amount: bigint;
    };

/** Who is charged. */
export interface Payer {
  /** `AgentAuthority.account`. */
  readonly account: string;
  readonly grantId: string;
  readonly agentId: string;
  /** What is signed, in a few words: for the history, and for nothing else. At most 512 characters. */
  readonly call?: string;
}

export interface BudgetState {
  readonly unit: UnitName;
  readonly amount: bigint;
  readonly spent: bigint;
  /** Given on to sub-agents. */
  readonly allocated: bigint;
}

/** What was taken and is not settled. */
export interface Reservation {
  /** UUID. */
  readonly id: string;
  readonly charges: readonly Charge[];
  /** Resolves when no crash can undo it: hardware is asked only then. @throws KeydError `ledger_unavailable` */
  readonly durable: Promise<void>;
  /** Hardware was asked, or may have been: all is spent. */
  commit(): void;
  /** Hardware was certainly not asked: all is given back. */
  release(): void;
}
