import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApprovedHost } from '../../../src/issuer/host-registry.ts';
import { StatusLists } from '../../../src/issuer/status-lists.ts';
import type { EnrolledHost } from '../../../src/issuer/store/host-records.ts';
import { openIssuerStore, type IssuerStore } from '../../../src/issuer/store/issuer-store.ts';
import { DEFAULT_CAPS, LIST_SIZE } from '../../../src/issuer/store/status-store.ts';
import { decodeBase64url } from '../../../src/wire/base64url.ts';
import { parseListNumber, statusListNumber } from '../../../src/wire/issuance/status.ts';
import { decodeJwt } from '../../../src/wire/jws.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signJwt, testKey } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const NOW = 1_800_000_000;
const HOST = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);

let temp: TempDir;
let store: IssuerStore;

beforeEach(async () => {
  temp = await makeTempDir();
  store = openIssuerStore(temp.path);
});
afterEach(async () => {
  store.close();
  await temp.remove();
});

function sql(statement: string): void {
  const database = new DatabaseSync(join(temp.path, 'issuer.db'));
  try {
    database.exec(statement);
  } finally {
    database.close();
  }
}

describe('status indices', () => {
  it('are given once, at random, also after a restart', async () => {
    const first = await store.statuses.allocate(HOST, 500, NOW);
    store.close();
    store = openIssuerStore(temp.path);
    const all = [...first, ...(await store.statuses.allocate(OTHER, 500, NOW))];
    expect(new Set(all.map(({ idx, list }) => `${list} ${idx}`)).size).toBe(1000);
    expect(all.every(({ idx }) => idx >= 0 && idx < LIST_SIZE)).toBe(true);
    const sorted = first.map(({ idx }) => idx).sort((a, b) => a - b);
    expect(first.map(({ idx }) => idx)).not.toEqual(sorted);
    expect(sorted.at(-1)).toBeGreaterThan(LIST_SIZE / 2);
  });

  it('S20: are bounded by host and day, and others have their own share', async () => {
    const caps = { ...DEFAULT_CAPS, perHostPerDay: 3 };
    const ask = (host: string, count: number, now: number) =>
      codeOfAsync(() => store.statuses.allocate(host, count, now, caps));
    expect(await ask(HOST, 2, NOW)).toBeUndefined();
    expect(await ask(HOST, 2, NOW + 10)).toBe('too_many_requests');
    expect(await ask(OTHER, 3, NOW + 10)).toBeUndefined();
    expect(await ask(HOST, 1, NOW + 10)).toBeUndefined();
    expect(await ask(HOST, 2, NOW + 86_399)).toBe('too_many_requests');
    expect(await ask(HOST, 2, NOW + 86_400)).toBeUndefined();
  });

  it('begin another list before one is so full that a free place is hard to find', async () => {
    const caps = { ...DEFAULT_CAPS, perList: 5 };
    const lists = new Set<number>();
    for (let round = 0; round < 3; round += 1) {
      for (const { list } of await store.statuses.allocate(HOST, 2, NOW, caps)) lists.add(list);
    }
    expect([...lists]).toEqual([1, 2]);
  });

  it('S18: are revoked by their host alone, all or none, and once', async () => {
    const [one, two] = await store.statuses.allocate(HOST, 2, NOW);
    const [foreign] = await store.statuses.allocate(OTHER, 1, NOW);
    if (one === undefined || two === undefined || foreign === undefined) throw new Error('nothing was given');
    expect(await codeOfAsync(() => store.statuses.revoke(HOST, [one, foreign], NOW))).toBe('policy_denied');
    expect((await store.statuses.read(1)).some(({ revoked }) => revoked)).toBe(false);
    const never = {
      list: 1,
      idx: [0, 1, 2, 3].find((idx) => ![one, two, foreign].some((g) => g.idx === idx)) ?? 0,
    };
    expect(await codeOfAsync(() => store.statuses.revoke(HOST, [never], NOW))).toBe('policy_denied');
    expect(await store.statuses.revision(1)).toBe(0);
    expect(await store.statuses.revoke(HOST, [one, one, two], NOW)).toBe(2);
    expect(await store.statuses.revoke(HOST, [one], NOW + 5)).toBe(0);
    expect(await store.statuses.revision(1)).toBe(2);
    expect(await store.statuses.revision(2)).toBeUndefined();
  });

  it('of a grant is one for each key, also asked for at once, and the host may revoke it', async () => {
    const of = (key: string) => store.statuses.ofGrant(HOST, key, NOW);
    const [one, same, other] = await Promise.all([of('key-1'), of('key-1'), of('key-2')]);
    expect(same).toEqual(one);
    expect(other).not.toEqual(one);
    expect(await store.statuses.isRevoked(one)).toBe(false);
    expect(await store.statuses.revoke(HOST, [one], NOW)).toBe(1);
    expect(await of('key-1')).toEqual(one);
    expect(await store.statuses.isRevoked(one)).toBe(true);
    expect(await store.statuses.isRevoked({ list: 9, idx: 1 })).toBeUndefined();
  });

  it('S18: are never taken back or given again, not in SQL either', async () => {
    const given = await store.statuses.allocate(HOST, 2, NOW);
    await store.statuses.revoke(HOST, given.slice(0, 1), NOW);
    expect(() => {
      sql('UPDATE status_indices SET revoked_at = NULL WHERE revoked_at IS NOT NULL');
    }).toThrow(/revoked, once/);
    expect(() => {
      sql(`UPDATE status_indices SET ek_sha256 = '${OTHER}', revoked_at = 1`);
    }).toThrow(/revoked, once/);
    expect(() => {
      sql('DELETE FROM status_indices');
    }).toThrow(/never given again/);
  });
});

describe('status lists', () => {
  const statusKey = testKey();
  const URL = 'https://issuer.example:8443';
  let approved: Set<string>;
  let clock: number;
  let signed: number;
  let fault: KeydError | undefined;
  let lists: StatusLists;

  beforeEach(() => {
    approved = new Set([HOST, OTHER]);
    clock = NOW;
    signed = 0;
    fault = undefined;
    lists = new StatusLists({
      keys: {
        signJwt: (_purpose, typ, claims) => {
          signed += 1;
          if (fault !== undefined) return Promise.reject(fault);
          return Promise.resolve(signJwt(statusKey, { typ, kid: statusKey.thumbprint }, claims));
        },
      },
      store: store.statuses,
      hosts: { find: (ek) => (approved.has(ek) ? ({ ekHash: ek } as ApprovedHost) : undefined) },
      url: URL,
      issuer: 'https://issuer.example',
      nowSeconds: () => clock,
    });
  });

  const host = { ekHash: HOST } as EnrolledHost;
  const other = { ekHash: OTHER } as EnrolledHost;

  async function revokedIn(list: number): Promise<readonly number[]> {
    const { claims } = decodeJwt(await lists.token(list), { maxOctets: 1024 * 1024 });
    const { bits, lst } = claims['status_list'] as { readonly bits: number; readonly lst: string };
    expect(bits).toBe(1);
    const octets = inflateSync(decodeBase64url(lst));
    expect(octets).toHaveLength(LIST_SIZE / 8);
    return [...octets].flatMap((octet, at) =>
      [0, 1, 2, 3, 4, 5, 6, 7].flatMap((bit) => (((octet >> bit) & 1) === 1 ? [at * 8 + bit] : [])),
    );
  }

  it('says what was revoked, in the form of the draft, signed for one purpose', async () => {
    const given = await lists.allocate(host, 20);
    const gone = given.slice(0, 9);
    expect(await lists.revoke(host, gone)).toBe(9);
    expect(await revokedIn(1)).toEqual(gone.map(({ idx }) => idx).sort((a, b) => a - b));
    const { claims, header } = decodeJwt(await lists.token(1));
    expect(header).toEqual({ alg: 'ES256', typ: 'statuslist+jwt', kid: statusKey.thumbprint });
    expect(claims).toMatchObject({
      iss: 'https://issuer.example',
      sub: `${URL}/v1/status/1`,
      iat: NOW,
      exp: NOW + 3600,
      ttl: 60,
    });
    expect(given.every(({ uri }) => uri === `${URL}/v1/status/1`)).toBe(true);
  });

  it('packs bits as in the example of §4.1: the first in the least significant', async () => {
    await lists.allocate(host, 1);
    const insert = [0, 3, 4, 5, 7, 8, 9, 13, 15].map((idx) => `(1, ${idx}, '${HOST}', ${NOW}, ${NOW})`);
    sql(
      `INSERT OR REPLACE INTO status_indices (list, idx, ek_sha256, allocated_at, revoked_at) VALUES ${insert.join(',')}`,
    );
    const { claims } = decodeJwt(await lists.token(1));
    const { lst } = claims['status_list'] as { readonly lst: string };
    expect([...inflateSync(decodeBase64url(lst)).subarray(0, 2)]).toEqual([0xb9, 0xa3]);
  });

  it('S18: shows a revocation at once, and signs no more often than that needs', async () => {
    const [reference] = await lists.allocate(host, 1);
    const before = await lists.token(1);
    expect(await lists.token(1)).toBe(before);
    expect(signed).toBe(1);
    await lists.revoke(host, reference === undefined ? [] : [reference]);
    expect(await revokedIn(1)).toEqual([reference?.idx]);
    expect(signed).toBe(2);
    clock += 20;
    await lists.token(1);
    expect(signed).toBe(3);
    clock -= 10;
    await lists.token(1);
    expect(signed).toBe(4);
  });

  it('S18: has everything of a host as revoked whose approval was withdrawn', async () => {
    const mine = await lists.allocate(host, 3);
    await lists.allocate(other, 3);
    expect(await revokedIn(1)).toEqual([]);
    approved.delete(HOST);
    clock += 20;
    expect(await revokedIn(1)).toEqual(mine.map(({ idx }) => idx).sort((a, b) => a - b));
    expect(await codeOfAsync(() => lists.allocate(host, 1))).toBe('host_not_approved');
    expect(await lists.revoke(host, mine)).toBe(3);
  });

  it('refuses a revocation elsewhere, and knows no list that was never begun', async () => {
    await lists.allocate(host, 1);
    const elsewhere = [{ idx: 1, uri: 'https://other.example/v1/status/1' }];
    expect(await codeOfAsync(async () => lists.revoke(host, elsewhere))).toBe('policy_denied');
    expect(await codeOfAsync(() => lists.token(2))).toBe('not_found');
  });

  it('does not remember that the token could not sign', async () => {
    await lists.allocate(host, 1);
    fault = new KeydError('backend_unavailable', 'the token is gone');
    expect(await codeOfAsync(() => lists.token(1))).toBe('backend_unavailable');
    fault = undefined;
    expect(await codeOfAsync(() => lists.token(1))).toBeUndefined();
  });
});

describe('the number of a list', () => {
  it('has one spelling, below the issuer’s URL', () => {
    expect(parseListNumber('12')).toBe(12);
    for (const text of ['', '0', '01', '+1', '1.0', '1e3', '-1', '1 ', '1234567890', 'indices']) {
      expect(parseListNumber(text)).toBeUndefined();
    }
    expect(statusListNumber('https://i.example', 'https://i.example/v1/status/7')).toBe(7);
    for (const uri of [
      'https://i.example.evil/v1/status/7',
      'https://i.example/v1/status/7/',
      'https://i.example/v1/status/7?x',
    ]) {
      expect(statusListNumber('https://i.example', uri)).toBeUndefined();
    }
  });
});
