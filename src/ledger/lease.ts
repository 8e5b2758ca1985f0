/** What an epoch leases to a purse that nobody set a lease for: a 32nd, and at least one. */
const DEFAULT_LEASE_SHARE = 32n;

/** @param leases absolute leases by unit */
export function leaseOf(
  leases: ReadonlyMap<string, bigint> | undefined,
  key: string,
  amount: bigint,
): bigint {
  const unit = key.slice(key.lastIndexOf('|') + 1);
  const set = leases?.get(unit);
  if (set !== undefined) return set;
  const share = amount / DEFAULT_LEASE_SHARE;
  return share > 0n ? share : 1n;
}
