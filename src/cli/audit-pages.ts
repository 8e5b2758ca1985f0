/** The audit log as the daemon gives it, page by page. */
import type { AgentKeyClient } from '../client/index.ts';
import { array, integer, object, parse, text } from '../wire/check.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { parsePublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';

const PAGE = 1000;
const page = object({
  from: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  size: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  entries: array(text({ maxLength: 65_536 }), { max: PAGE }),
});

export interface SignedHead {
  /** Signed note. */
  readonly checkpoint: string;
  readonly publicJwk: PublicJwk;
}

/** A fresh checkpoint. */
export async function fetchCheckpoint(client: AgentKeyClient): Promise<SignedHead> {
  const answer = (await client.call('GET', '/v1/audit/checkpoint')) as Readonly<Record<string, unknown>>;
  return {
    checkpoint: parse(text({ maxLength: 2048 }), answer['checkpoint']),
    publicJwk: parsePublicJwk(answer['publicJwk']),
  };
}

/** Entries from an index on, as many as the daemon gives at once, and how many there are in all. */
export async function fetchPage(
  client: AgentKeyClient,
  from: number,
  limit = PAGE,
): Promise<{ readonly size: number; readonly entries: readonly string[] }> {
  return parse(
    page,
    await client.call('GET', `/v1/audit/entries?from=${from}&limit=${Math.min(limit, PAGE)}`),
  );
}

/** Entries `from` to `to`, exclusive. @throws KeydError `audit_unavailable` where the daemon gives fewer */
export async function* fetchEntries(
  client: AgentKeyClient,
  from: number,
  to: number,
): AsyncGenerator<string, void> {
  for (let next = from; next < to;) {
    const { entries } = await fetchPage(client, next, to - next);
    if (entries.length === 0)
      throw new KeydError('audit_unavailable', `the daemon gave no entry ${next} of ${to}`);
    yield* entries;
    next += entries.length;
  }
}
