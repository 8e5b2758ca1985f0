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
  /** In flight; more are held, unread where they are many, until one of these is over. */
  readonly maxRequests: number;
  /**
   * The same while another share has a connection: what is in flight is work for the one thread that all callers share,
   * and memory that it has to clean up after, and hardware is kept busy by fewer.
   */
  readonly maxRequestsBesideOthers: number;
  /** How long a request is held before it is refused after all. */
  readonly maxHeldMs: number;
  /** Body octets held at one time. */
  readonly maxOctets: number;
  /** Header octets of requests in flight or held, a kibibyte more for each; a connection that brings more is cut. */
  readonly maxHeadOctets: number;
  /** Refusals of policy and quotas; further ones are answered later, so that a spinning caller is slowed. */
  readonly maxRefusalsPerSecond: number;
  readonly maxRefusalDelayMs: number;
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
    maxRequests: 128,
    maxRequestsBesideOthers: 6,
    maxHeldMs: 30_000,
    maxOctets: 16 * 1024 * 1024,
    maxHeadOctets: 16 * 1024 * 1024,
    maxRefusalsPerSecond: 50,
    maxRefusalDelayMs: 5_000,
  },
};

/** Nesting of a request's JSON. */
export const MAX_JSON_DEPTH = 32;
