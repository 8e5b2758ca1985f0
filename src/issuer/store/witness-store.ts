/** What was last seen of every host's logs, by EK: it outlives an enrolment, and goes on from one seen head to the next. */
import type { CommitGroup } from '../../base/commit-group.ts';
import { anchoredHeads, type AnchoredHeads } from '../../wire/audit-anchor.ts';
import { parse } from '../../wire/check.ts';
import type { Witness } from '../verifier/audit-counter.ts';
import { integerOf, jsonOf, type Row } from './rows.ts';

export interface SeenWitness extends Witness {
  /** Goes up by one with every head that is seen. */
  readonly revision: number;
  readonly seenAtSeconds: number;
}

export class WitnessStore {
  readonly #state: CommitGroup;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  byEk(ekHash: string): Promise<SeenWitness | undefined> {
    return this.#state.read(() => {
      const row = this.#state.statement('SELECT * FROM witnesses WHERE ek_sha256 = ?').get(ekHash);
      return row === undefined ? undefined : toWitness(row);
    });
  }

  /**
   * Goes on from `revision` (0: nothing was seen yet) to these heads. False where somebody else went on meanwhile:
   * what was judged against the earlier heads then counts for nothing.
   */
  goOn(
    ekHash: string,
    revision: number,
    heads: AnchoredHeads,
    isCounted: boolean,
    nowSeconds: number,
  ): Promise<boolean> {
    return this.#state.write(() => {
      const { changes } = this.#state
        .statement(
          `INSERT INTO witnesses (ek_sha256, revision, heads, is_counted, seen_at)
           SELECT ?1, ?2 + 1, ?3, ?4, ?5
           WHERE ?2 = coalesce((SELECT revision FROM witnesses WHERE ek_sha256 = ?1), 0)
           ON CONFLICT (ek_sha256) DO UPDATE
             SET revision = excluded.revision, heads = excluded.heads, is_counted = excluded.is_counted,
               seen_at = excluded.seen_at`,
        )
        .run(ekHash, revision, JSON.stringify(heads), isCounted ? 1 : 0, nowSeconds);
      return changes === 1;
    });
  }

  /** Forgets what was seen, on record: the next head is taken as it is. False where nothing was seen. */
  accept(ekHash: string, by: string, nowSeconds: number): Promise<boolean> {
    return this.#state.write(() => {
      const row = this.#state.statement('SELECT * FROM witnesses WHERE ek_sha256 = ?').get(ekHash);
      if (row === undefined) return false;
      this.#state
        .statement(
          'INSERT INTO accepted_rollbacks (ek_sha256, heads, accepted_by, accepted_at) VALUES (?, ?, ?, ?)',
        )
        .run(ekHash, JSON.stringify(headsOf(row)), by, nowSeconds);
      this.#state.statement('DELETE FROM witnesses WHERE ek_sha256 = ?').run(ekHash);
      return true;
    });
  }
}

function toWitness(row: Row): SeenWitness {
  return {
    ...headsOf(row),
    isCounted: integerOf(row, 'is_counted') === 1,
    revision: integerOf(row, 'revision'),
    seenAtSeconds: integerOf(row, 'seen_at'),
  };
}

function headsOf(row: Row): AnchoredHeads {
  return parse(anchoredHeads, jsonOf(row, 'heads'), 'internal');
}
