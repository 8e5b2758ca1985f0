/** Reservations whose signature is being made: spent already, and given back where hardware was never asked. */
export class UnderWay {
  readonly #held = new Map<string, ReadonlyMap<string, bigint>>();

  begin(id: string, amounts: ReadonlyMap<string, bigint>): void {
    this.#held.set(id, amounts);
  }

  end(id: string): void {
    this.#held.delete(id);
  }

  /** By unit. */
  of(account: string): ReadonlyMap<string, bigint> {
    const prefix = `${account}|`;
    const sums = new Map<string, bigint>();
    for (const amounts of this.#held.values()) {
      for (const [key, amount] of amounts) {
        if (!key.startsWith(prefix)) continue;
        const unit = key.slice(prefix.length);
        sums.set(unit, (sums.get(unit) ?? 0n) + amount);
      }
    }
    return sums;
  }
}
