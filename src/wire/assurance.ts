/**
 * What is proven about where a key lives (attestation reference §3). `hw-platform`: key and boot state
 * verified. `hw-key`: key residency verified to a vendor root. `asserted`: an operator registered the
 * token; no cryptographic evidence. `software`: no hardware claim (SoftHSM, swtpm, test roots).
 */
export const ASSURANCE_LEVELS = ['hw-platform', 'hw-key', 'asserted', 'software'] as const;

export type AssuranceLevel = (typeof ASSURANCE_LEVELS)[number];

/** Whether `level` is at least as strong as `floor`. */
export function meetsAssurance(level: AssuranceLevel, floor: AssuranceLevel): boolean {
  return ASSURANCE_LEVELS.indexOf(level) <= ASSURANCE_LEVELS.indexOf(floor);
}
