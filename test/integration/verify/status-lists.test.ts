/** The issuer's own status lists, as `agentkeyd/verify` reads them. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ApprovedHost } from '../../../src/issuer/host-registry.ts';
import { StatusLists as IssuerLists } from '../../../src/issuer/status-lists.ts';
import type { EnrolledHost } from '../../../src/issuer/store/host-records.ts';
import { openIssuerStore, type IssuerStore } from '../../../src/issuer/store/issuer-store.ts';
import { StatusLists } from '../../../src/verify/status-lists.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { parseListNumber } from '../../../src/wire/issuance/status.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signJwt, testKey } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const nowSeconds = 1_800_000_000;
const host = { ekHash: 'a'.repeat(64) } as EnrolledHost;
const statusKey = testKey();
let temp: TempDir;
let store: IssuerStore;

beforeAll(async () => {
  temp = await makeTempDir();
  store = openIssuerStore(temp.path);
});
afterAll(async () => {
  store.close();
  await temp.remove();
});

it('S18: a link is valid until its host revokes it, and no other is touched', async () => {
  const issuer = new IssuerLists({
    keys: {
      signJwt: (_purpose, typ, claims) =>
        Promise.resolve(signJwt(statusKey, { typ, kid: statusKey.thumbprint }, claims)),
    },
    store: store.statuses,
    hosts: { find: (ekHash) => ({ ekHash }) as ApprovedHost },
    url: 'https://issuer.example:8443',
    issuer: 'https://issuer.example',
    nowSeconds: () => nowSeconds,
  });
  const verifier = (): StatusLists =>
    new StatusLists({
      authorities: [{ prefix: 'https://issuer.example:8443/v1/status/', keys: [trustedKey(statusKey.jwk)] }],
      fetch: (uri) => issuer.token(parseListNumber(uri.slice(uri.lastIndexOf('/') + 1)) ?? 0),
      maxStatusAgeSeconds: 300,
      clock: () => nowSeconds * 1000,
    });
  const references = await issuer.allocate(host, 50);
  const codes = async (lists: StatusLists) =>
    Promise.all(references.map((reference) => codeOfAsync(() => lists.check(reference))));
  expect(new Set(await codes(verifier()))).toEqual(new Set([undefined]));
  await issuer.revoke(host, references.slice(7, 9));
  expect(await codes(verifier())).toEqual(
    references.map((_, index) => (index === 7 || index === 8 ? 'delegation_revoked' : undefined)),
  );
});
