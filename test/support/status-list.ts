/** Status lists as an issuer signs them. */
import { deflateSync } from 'node:zlib';
import { signJwt, type TestKey } from './signed-request.ts';

export interface StatusListOptions {
  readonly uri: string;
  readonly nowSeconds: number;
  /** Status by index; every other one is valid. */
  readonly statuses?: Readonly<Record<number, number>>;
  readonly bits?: number;
  readonly size?: number;
  readonly header?: Readonly<Record<string, unknown>>;
  /** Members to set, or with undefined to leave out. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export function statusListToken(key: TestKey, options: StatusListOptions): string {
  const { bits = 1, claims, header, nowSeconds, size = 64, statuses = {}, uri } = options;
  const octets = Buffer.alloc((size * bits) / 8);
  for (const [index, status] of Object.entries(statuses)) {
    const at = Number(index) * bits;
    octets[at >> 3] = (octets[at >> 3] ?? 0) | (status << (at & 7));
  }
  return signJwt(
    key,
    { typ: 'statuslist+jwt', kid: key.thumbprint, ...header },
    {
      sub: uri,
      iat: nowSeconds - 5,
      exp: nowSeconds + 600,
      ttl: 60,
      status_list: { bits, lst: deflateSync(octets).toString('base64url') },
      ...claims,
    },
  );
}
