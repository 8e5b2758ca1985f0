import { generateKeyPairSync } from 'node:crypto';
import { expect, it } from 'vitest';
import type { KeyBlobRecord, KeyBlobStore } from '../../../../src/backend/backend.ts';
import { TpmKeyTable } from '../../../../src/backend/tpm/tpm-key.ts';
import { encodeTss2PrivateKey } from '../../../../src/backend/tpm/tss2-private-key.ts';
import { decodeBase64url } from '../../../../src/wire/base64url.ts';
import { parsePublicArea, serializePublicArea } from '../../../../src/wire/tpm/public-area.ts';
import { signingKeyTemplate } from '../../../../src/wire/tpm/templates.ts';

const keyId = '11111111-1111-4111-8111-111111111111';

function record(): KeyBlobRecord {
  const { x = '', y = '' } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    format: 'jwk',
  });
  const template = parsePublicArea(signingKeyTemplate('ES256'));
  if (template.type !== 'ecc') expect.unreachable();
  const publicArea = serializePublicArea({
    ...template,
    x: decodeBase64url(x, 'x'),
    y: decodeBase64url(y, 'y'),
  });
  const blob = encodeTss2PrivateKey({ parent: 0x81000001, publicArea, privateArea: new Uint8Array(32) });
  return { keyId, purpose: 'agent', algorithm: 'ES256', blob, salt: new Uint8Array(32), epoch: 0 };
}

/** As slow as one that reads and removes a turn later. */
function store(kept: KeyBlobRecord): KeyBlobStore {
  const records = new Map([[keyId, kept]]);
  return {
    put: () => Promise.reject(new TypeError('nothing is put here')),
    get: async (id) => {
      const found = records.get(id);
      await new Promise((resolve) => setImmediate(resolve));
      return found;
    },
    list: () => Promise.resolve([...records.values()]),
    delete: async (id) => {
      await Promise.resolve();
      records.delete(id);
    },
  };
}

it('S15: a key that is destroyed while it is being read is not remembered', async () => {
  const table = new TpmKeyTable(store(record()));
  const reading = table.find(keyId);
  await table.delete(keyId);
  expect(await reading).toBeUndefined();
  expect(await table.find(keyId)).toBeUndefined();
});
