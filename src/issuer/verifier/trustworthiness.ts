/** AR4SI trustworthiness (draft-ietf-rats-ar4si) as far as this Verifier makes claims, and its tiers. */

/** Claims of a trustworthiness vector; what is not judged is absent, never guessed. */
export interface TrustworthinessVector {
  readonly 'instance-identity'?: number;
  readonly configuration?: number;
  readonly executables?: number;
  readonly hardware?: number;
  readonly 'storage-opaque'?: number;
}

/** Best first. */
export const TRUST_TIERS = ['affirming', 'none', 'warning', 'contraindicated'] as const;
export type TrustTier = (typeof TRUST_TIERS)[number];

/** Values that are claimed here (AR4SI §2.3.4). */
export const TRUST = {
  /** The instance is known and not known to be compromised. */
  recognizedInstance: 2,
  /** Genuine hardware of a known vendor. */
  genuineHardware: 2,
  /** No vendor is known to vouch for this hardware. */
  unrecognizedHardware: 97,
  /** Keys are kept by hardware. */
  hardwareKeys: 2,
  /** Keys are kept by software. */
  softwareKeys: 32,
} as const;

/** The tier of the worst claim; `none` where nothing is claimed. */
export function tierOf(vector: TrustworthinessVector): TrustTier {
  const claims = Object.values(vector).filter((value): value is number => value !== undefined);
  return worstTier(claims.map(tierOfValue));
}

export function worstTier(tiers: readonly TrustTier[]): TrustTier {
  return TRUST_TIERS.findLast((tier) => tiers.includes(tier)) ?? 'none';
}

/** AR4SI §2.3.2: 2 to 31 affirming, 32 to 95 warning, 96 and above contraindicated, -1 to 1 no opinion. */
function tierOfValue(value: number): TrustTier {
  if (value >= 96) return 'contraindicated';
  if (value >= 32) return 'warning';
  return value >= 2 ? 'affirming' : 'none';
}
