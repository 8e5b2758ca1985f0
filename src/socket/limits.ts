/** Bounds on everything that comes in over a socket. Times in milliseconds, sizes in octets. */
export interface SocketLimits {
  readonly maxHeaderOctets: number;
  readonly maxHeaderFields: number;
  readonly maxBodyOctets: number;
  /** Until the header has arrived, from the first octet or the connection's beginning. */
  readonly headersTimeoutMs: number;
  /** Until header and body have arrived. */
  readonly requestTimeoutMs: number;
  /** A connection without a request is closed after this. */
  readonly keepAliveTimeoutMs: number;
  /** Connections of one listener, over all callers. */
  readonly maxConnections: number;
  /** Requests of one connection that have begun and are not answered. */
  readonly maxPipelined: number;
  readonly share: ShareLimits;
}

/** Bounds for one caller's share (S20). */
export interface ShareLimits {
  readonly maxConnections: number;
  readonly maxRequests: number;
  /** Body octets held at one time. */
  readonly maxOctets: number;
  /** Refusals a second that are answered at once; further ones wait, so that a spinning caller is slowed. */
  readonly maxPromptRefusalsPerSecond: number;
  readonly refusalDelayMs: number;
}

export const DEFAULT_LIMITS: SocketLimits = {
  maxHeaderOctets: 32 * 1024,
  maxHeaderFields: 100,
  maxBodyOctets: 1536 * 1024,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 15_000,
  keepAliveTimeoutMs: 60_000,
  maxConnections: 2_048,
  maxPipelined: 32,
  share: {
    maxConnections: 256,
    maxRequests: 256,
    maxOctets: 16 * 1024 * 1024,
    maxPromptRefusalsPerSecond: 50,
    refusalDelayMs: 250,
  },
};

/** Nesting of a request's JSON. */
export const MAX_JSON_DEPTH = 32;
