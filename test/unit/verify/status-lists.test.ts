import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { verifyStatusList } from '../../../src/verify/status-list.ts';
import { StatusLists, type StatusListsOptions } from '../../../src/verify/status-lists.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';
import { statusListToken, type StatusListOptions } from '../../support/status-list.ts';

const nowSeconds = 1_800_000_000;
const uri = 'https://issuer.example/status/1';
const statusKey = testKey();
const other = testKey();
const rules = { uri, keys: [trustedKey(statusKey.jwk)], nowSeconds, clockSkewSeconds: 5 };

const token = (options: Partial<StatusListOptions> = {}, key = statusKey): string =>
  statusListToken(key, { uri, nowSeconds, ...options });
const codeOfList = (text: string): string | undefined => codeOf(() => verifyStatusList(text, rules));

describe('a status list', () => {
  it('tells the status at an index, of 1, 2, 4 and 8 bits, the least significant first', () => {
    for (const bits of [1, 2, 4, 8]) {
      const last = 2 ** bits - 1;
      const list = verifyStatusList(token({ bits, statuses: { 0: 1, 7: last, 63: 1 } }), rules);
      expect(
        [0, 1, 7, 8, 63].map((index) => list.statusAt(index)),
        `${bits} bits`,
      ).toEqual([1, 0, last, 0, 1]);
      expect(codeOf(() => list.statusAt(64))).toBe('status_unavailable');
    }
  });

  it('is that of the draft’s first example', () => {
    // draft-ietf-oauth-status-list §4.1: sixteen statuses of one bit, octets 0xB9 0xA3.
    const lst = deflateSync(Buffer.from([0xb9, 0xa3])).toString('base64url');
    const list = verifyStatusList(token({ claims: { status_list: { bits: 1, lst } } }), rules);
    expect(Array.from({ length: 16 }, (_, index) => list.statusAt(index))).toEqual([
      1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1,
    ]);
  });

  it.each<readonly [string, Partial<StatusListOptions>]>([
    ['another type', { header: { typ: 'jwt' } }],
    ['an empty type', { header: { typ: '' } }],
    ['a key of its own', { header: { jwk: statusKey.jwk } }],
    ['another kid', { header: { kid: other.thumbprint } }],
    ['another alg', { header: { alg: 'ES384' } }],
    ['another list', { claims: { sub: 'https://issuer.example/status/2' } }],
    ['no sub', { claims: { sub: undefined } }],
    ['no iat', { claims: { iat: undefined } }],
    ['an iat in the future', { claims: { iat: nowSeconds + 6 } }],
    ['an exp that has passed', { claims: { exp: nowSeconds - 5 } }],
    ['an exp that is text', { claims: { exp: '2' } }],
    ['no list', { claims: { status_list: undefined } }],
    ['three bits', { claims: { status_list: { bits: 3, lst: 'eNoBAAD__wAAAAE' } } }],
    ['a list that is not compressed', { claims: { status_list: { bits: 1, lst: 'AAAA' } } }],
    ['a list that is not base64url', { claims: { status_list: { bits: 1, lst: '+/==' } } }],
    ['a list with an unknown member', { claims: { status_list: { bits: 1, lst: 'eNoBAAD__wAAAAE', x: 1 } } }],
    [
      'a list that would fill the memory',
      {
        claims: {
          status_list: { bits: 1, lst: deflateSync(Buffer.alloc(17 * 1024 * 1024)).toString('base64url') },
        },
      },
    ],
  ])('tells nothing with %s', (_, options) => {
    expect(codeOfList(token())).toBeUndefined();
    expect(codeOfList(token(options))).toBe('status_unavailable');
  });

  it('tells nothing under another key, cut at any offset, or with anything after it', () => {
    expect(codeOfList(token({ header: { kid: statusKey.thumbprint } }, other))).toBe('status_unavailable');
    const whole = token();
    for (let length = 0; length < whole.length; length += 1) {
      expect(codeOfList(whole.slice(0, length)), `cut at ${length}`).toBe('status_unavailable');
    }
    for (const extra of ['.', 'A', '\n', '~']) expect(codeOfList(whole + extra)).toBe('status_unavailable');
  });
});

describe('status lists', () => {
  /** Lists over a server that answers in turn, the last answer again and again. */
  function lists(answers: readonly (string | Error)[], options: Partial<StatusListsOptions> = {}) {
    const asked: string[] = [];
    let now = nowSeconds;
    const made = new StatusLists({
      authorities: [{ prefix: 'https://issuer.example/status/', keys: rules.keys }],
      fetch: (at) => {
        const answer = answers[Math.min(asked.length, answers.length - 1)];
        asked.push(at);
        return typeof answer === 'string'
          ? Promise.resolve(answer)
          : Promise.reject(answer ?? new Error('down'));
      },
      maxStatusAgeSeconds: 300,
      clock: () => now * 1000,
      ...options,
    });
    return {
      asked,
      code: (idx: number, at = uri) => codeOfAsync(() => made.check({ uri: at, idx })),
      pass: (seconds: number) => {
        now += seconds;
      },
    };
  }

  it('tell what is valid and what was revoked, and fetch a list once', async () => {
    const { asked, code } = lists([token({ statuses: { 3: 1 } })]);
    expect(await Promise.all([code(0), code(3), code(1)])).toEqual([
      undefined,
      'delegation_revoked',
      undefined,
    ]);
    expect(await code(3)).toBe('delegation_revoked');
    expect(asked).toEqual([uri]);
  });

  it('refuse every status but valid', async () => {
    const { code } = lists([token({ bits: 2, statuses: { 0: 1, 1: 2, 2: 3 } })]);
    for (const index of [0, 1, 2]) expect(await code(index)).toBe('delegation_revoked');
  });

  it('S18: see a revocation once a copy is due, and never use one older than was declared', async () => {
    const { asked, code, pass } = lists([token(), token({ statuses: { 3: 1 } })]);
    expect(await code(3)).toBeUndefined();
    pass(59);
    expect(await code(3)).toBeUndefined();
    expect(asked).toHaveLength(1);
    pass(1);
    await code(3);
    await expect.poll(() => code(3)).toBe('delegation_revoked');
    expect(asked).toHaveLength(2);
  });

  it('go on with a copy while its authority is down, until it is too old', async () => {
    const { code, pass } = lists([token(), new Error('down')]);
    expect(await code(3)).toBeUndefined();
    pass(295);
    expect(await code(3)).toBeUndefined();
    pass(1);
    expect(await code(3)).toBe('status_unavailable');
  });

  it('refuse a list that is fetched too old, or that its authority says has ended', async () => {
    expect(await lists([token({ claims: { iat: nowSeconds - 301 } })]).code(0)).toBe('status_unavailable');
    const { code, pass } = lists([token({ claims: { exp: nowSeconds + 10 } })]);
    expect(await code(0)).toBeUndefined();
    pass(10);
    expect(await code(0)).toBe('status_unavailable');
  });

  it('ask nobody but pinned authorities, whatever a token names', async () => {
    const { asked, code } = lists([token()]);
    for (const at of [
      'https://evil.example/status/1',
      'https://issuer.example.evil.example/status/1',
      'https://issuer.example/other/1',
      'https://issuer.example/status/../other/1',
      'https://issuer.example/status/%2e%2e/other',
      'http://issuer.example/status/1',
    ]) {
      expect(await code(0, at), at).toBe('status_unavailable');
    }
    expect(asked).toEqual([]);
  });

  it('tell nothing where nothing, something else, or nothing in time is fetched', async () => {
    expect(await lists([new Error('down')]).code(0)).toBe('status_unavailable');
    expect(await lists(['<html>']).code(0)).toBe('status_unavailable');
    const strange = lists([], { fetch: () => Promise.resolve(undefined as unknown as string) });
    expect(await strange.code(0)).toBe('status_unavailable');
    const hangs = lists([], { fetch: () => new Promise(() => undefined), fetchTimeoutMs: 20 });
    expect(await hangs.code(0)).toBe('status_unavailable');
    const throws = lists([], {
      fetch: () => {
        throw new Error('at once');
      },
    });
    expect(await throws.code(0)).toBe('status_unavailable');
  });

  it('are refused where they are not configured whole', () => {
    const make = (options: Partial<StatusListsOptions>) =>
      codeOf(
        () =>
          new StatusLists({
            authorities: [{ prefix: 'https://issuer.example/', keys: rules.keys }],
            fetch: () => Promise.resolve(''),
            maxStatusAgeSeconds: 300,
            ...options,
          }),
      );
    expect(make({})).toBeUndefined();
    expect(make({ authorities: [] })).toBe('configuration_invalid');
    expect(make({ authorities: [{ prefix: 'https://issuer.example/', keys: [] }] })).toBe(
      'configuration_invalid',
    );
    for (const prefix of [
      'https://issuer.example',
      'http://issuer.example/',
      'https://issuer.example/s',
      '',
    ]) {
      expect(make({ authorities: [{ prefix, keys: rules.keys }] }), prefix).toBe('configuration_invalid');
    }
    for (const maxStatusAgeSeconds of [0, -1, 0.5, Infinity]) {
      expect(make({ maxStatusAgeSeconds })).toBe('configuration_invalid');
    }
  });
});
