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
  /** Issuances of a round to the one host with a real daemon, and of the round before it that warms the issuer up. */
  readonly issuances: number;
  readonly firstIssuances: number;
  /** Of the fleet that saturates an issuer: agents of each host, and seconds of a round. */
  readonly fleetAgents: number;
  readonly fleetSeconds: number;
}

/** What the figures are defined for. */
export const FULL_SIZES: ScaleSizes = {
  agents: 10_000,
  auditEntries: 1_000_000,
  issuances: 100,
  firstIssuances: 400,
  fleetAgents: 48,
  fleetSeconds: 5,
};
/** For a run of minutes: every figure is there, and says that it is of less. */
export const SHORT_SIZES: ScaleSizes = {
  agents: 2_000,
  auditEntries: 200_000,
  issuances: 40,
  firstIssuances: 100,
  fleetAgents: 24,
  fleetSeconds: 3,
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
