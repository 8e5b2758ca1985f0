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
}

/** What the figures are defined for. */
export const FULL_SIZES: ScaleSizes = { agents: 10_000, auditEntries: 1_000_000 };
/** For a run of minutes: every figure is there, and says that it is of less. */
export const SHORT_SIZES: ScaleSizes = { agents: 2_000, auditEntries: 200_000 };

/** A figure beside those of the table: it tells where one of those comes from. */
export interface Detail {
  readonly what: string;
  readonly spread: Spread;
}

export interface Scaled {
  readonly spread: Spread;
  readonly details: readonly Detail[];
}
