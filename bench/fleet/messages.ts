/** What the bench asks the fleet's process for, one thing at a time, and what it answers. */
import type { FleetIssuer } from './fleet-host.ts';

export type FleetRequest =
  | { readonly what: 'make'; readonly hosts: number; readonly agentsPerHost: number }
  | { readonly what: 'enrol'; readonly issuer: FleetIssuer }
  /** Every host for itself, one issuance after the other, until `seconds` are over or each has had `perHost`. */
  | { readonly what: 'issue'; readonly seconds: number; readonly perHost: number };

/** Who is there to be approved, and who endorses their TPMs (PEM). */
export interface MadeFleet {
  readonly hosts: readonly { readonly label: string; readonly ekSha256: string }[];
  readonly root: string;
  readonly intermediate: string;
}

export interface IssuedToFleet {
  readonly issued: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type FleetAnswer =
  | { readonly result: MadeFleet | IssuedToFleet | undefined }
  /** Text of what was thrown. */
  | { readonly failure: string };
