/** Whether entries stand where they say they stand: what is missing, moved, doubled or changed, by name. */
import type { Hash } from '../wire/merkle.ts';
import { NO_ENTRY } from '../wire/audit-entry.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { finding, type AuditFinding } from './audit-findings.ts';

/** What an entry says of itself. */
export interface Place {
  readonly index: number;
  /** base64url. */
  readonly previous: string;
}

/** Places that were passed over, `from` to `to`, exclusive. */
interface Gap {
  readonly from: number;
  readonly to: number;
}

export class AuditPlaces {
  readonly #tell: (found: AuditFinding) => void;
  #gaps: Gap[] = [];
  /** The place after the furthest seen. */
  #next = 0;
  /** The last entry, if it can be told where it stands. */
  #last: { readonly index: number; readonly leaf: Hash } | undefined = { index: -1, leaf: NO_ENTRY };

  constructor(tell: (found: AuditFinding) => void) {
    this.#tell = tell;
  }

  get hasGaps(): boolean {
    return this.#gaps.length > 0;
  }

  /** The next entry; no place where it can not be read. */
  add(place: Place | undefined, leaf: Hash): void {
    if (place === undefined) {
      // Taken for the one that belongs here, so that what follows is judged by itself.
      this.#last = undefined;
      this.#next += 1;
      return;
    }
    const { index, previous } = place;
    if (index >= this.#next) {
      if (index > this.#next) this.#gaps.push({ from: this.#next, to: index });
      this.#next = index + 1;
    } else if (this.#fill(index)) {
      this.#tell(
        finding('entry_reordered', `entry ${index} stands behind entries that came after it`, index),
      );
    } else {
      this.#tell(finding('entry_inserted', `there is a second entry ${index}`, index));
    }
    const last = this.#last;
    if (last?.index === index - 1 && encodeBase64url(last.leaf) !== previous) {
      const [at, what] =
        last.index < 0
          ? [index, `entry ${index} does not begin the log`]
          : [last.index, `entry ${last.index} is not the one that entry ${index} was written after`];
      this.#tell(finding('entry_changed', what, at));
    }
    this.#last = { index, leaf };
  }

  end(): void {
    for (const { from, to } of this.#gaps) {
      const which = to - from === 1 ? `entry ${from} is` : `entries ${from} to ${to - 1} are`;
      this.#tell(finding('entry_removed', `${which} missing`, from, to));
    }
  }

  /** Whether the place had been passed over. */
  #fill(index: number): boolean {
    const gap = this.#gaps.find(({ from, to }) => index >= from && index < to);
    if (gap === undefined) return false;
    const rest = [
      { from: gap.from, to: index },
      { from: index + 1, to: gap.to },
    ].filter(({ from, to }) => to > from);
    this.#gaps = this.#gaps.flatMap((other) => (other === gap ? rest : [other]));
    return true;
  }
}
