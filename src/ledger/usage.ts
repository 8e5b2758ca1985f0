/** Use of agents, as policy may read it. */

/** An agent's own past, by what the daemon has signed for it. */
export interface Usage {
  /** Nothing was signed for this origin before. */
  readonly firstUseOfOrigin: boolean;
  /** Signatures in the last 60 s, 60 min and 24 h. */
  readonly lastMinute: number;
  readonly lastHour: number;
  readonly lastDay: number;
}

export interface UsageHistory {
  of(agentId: string, origin: string | undefined): Usage;
  signed(agentId: string, origin: string | undefined): void;
}
