/** What the measurements of scale share. */
import type { Spread } from '../../harness/stats.ts';

export interface ScaleContext {
  /** A directory of the measurement's own. */
  readonly dir: string;
  /** Compiled loops. */
  readonly programs: string;
  readonly sizes: ScaleSizes;
  readonly rounds: number;
  readonly say: (line: string) => void;
}

/** How much of everything. */
export interface ScaleSizes {
  readonly agents: number;
  readonly auditEntries: number;
  /** Issuances of a round, and of the round before it that warms the issuer up. */
  readonly issuances: number;
  readonly firstIssuances: number;
}

/** What the figures are defined for. */
export const FULL_SIZES: ScaleSizes = {
  agents: 10_000,
  auditEntries: 1_000_000,
  issuances: 100,
  firstIssuances: 400,
};
/** For a run of minutes: every figure is there, and says that it is of less. */
export const SHORT_SIZES: ScaleSizes = {
  agents: 2_000,
  auditEntries: 200_000,
  issuances: 40,
  firstIssuances: 100,
};

/** A figure beside those of the table: it tells where one of those comes from. */
export interface Detail {
  readonly what: string;
  readonly spread: Spread;
}

export interface Scaled {
  readonly spread: Spread;
  readonly details: readonly Detail[];
}
