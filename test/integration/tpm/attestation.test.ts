import { execFile } from 'node:child_process';
import { createPublicKey, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EsysHandle, type EsysConnection } from '../../../src/backend/tpm/esys.ts';
import { AuthDeriver } from '../../../src/backend/tpm/key-auth.ts';
import { TpmAttester } from '../../../src/backend/tpm/tpm-attester.ts';
import { TpmConnection } from '../../../src/backend/tpm/tpm-connection.ts';
import { TpmKeyTable } from '../../../src/backend/tpm/tpm-key.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { parseAttest } from '../../../src/wire/tpm/attest.ts';
import { TpmReader, TpmWriter } from '../../../src/wire/tpm/codec.ts';
import { TPM_RH } from '../../../src/wire/tpm/constants.ts';
import { primaryQualifiedName, publicAreaName } from '../../../src/wire/tpm/name.ts';
import { ATTESTED_PCRS, pcrDigest } from '../../../src/wire/tpm/pcr-selection.ts';
import { hasAttributes, parsePublicArea } from '../../../src/wire/tpm/public-area.ts';
import { publicAreaToKeyObject } from '../../../src/wire/tpm/public-key.ts';
import { parseSignature, signatureToJose, verifyTpmSignature } from '../../../src/wire/tpm/signature.ts';
import { ecdsaConcatToDer } from '../../../src/wire/ecdsa-signature.ts';
import type { EkTemplateName } from '../../../src/wire/tpm/templates.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { sha256DigestValues } from '../../support/esys.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { flushTpm, tpm2Tool, tpm2Tools } from '../../support/tpm2-tools.ts';

const run = promisify(execFile);

describe('attestation by a TPM', { timeout: 120_000 }, () => {
  let swtpm: TestSwtpm;
  let host: TpmHost;
  let backend: TpmBackend;
  let temp: TempDir;
  let keyId: string;
  const closing: (() => Promise<void>)[] = [];
  const nonce = randomBytes(32);
  const at = (name: string): string => join(temp.path, name);
  const put = (name: string, content: Uint8Array | string): Promise<void> => writeFile(at(name), content);

  beforeAll(async () => {
    swtpm = await startSwtpm({ withEkCertificates: true });
    temp = await makeTempDir();
    host = new TpmHost(swtpm.tcti);
    backend = await host.open();
    ({ keyId } = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' }));
  });
  afterAll(async () => {
    for (const close of closing) await close();
    await backend.close();
    await temp.remove();
    await swtpm.stop();
  });

  const akPem = async (): Promise<string> =>
    publicAreaToKeyObject(parsePublicArea(await backend.attester.attestationKey()))
      .export({ type: 'spki', format: 'pem' })
      .toString();

  it('the AK is a restricted primary in the endorsement hierarchy, the same after a restart', async () => {
    const octets = await backend.attester.attestationKey();
    const area = parsePublicArea(octets);
    expect(hasAttributes(area, 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign')).toBe(
      true,
    );
    expect(hasAttributes(area, 'decrypt')).toBe(false);
    const { attest } = await backend.attester.certify(keyId, nonce);
    const qualified = primaryQualifiedName(TPM_RH.ENDORSEMENT, publicAreaName(octets));
    expect(Buffer.from(parseAttest(attest).qualifiedSigner)).toEqual(Buffer.from(qualified));
    const restarted = await host.open();
    try {
      expect(await restarted.attester.attestationKey()).toEqual(octets);
    } finally {
      await restarted.close();
    }
    const other = await host.open({ secret: randomBytes(32) });
    try {
      expect(await other.attester.attestationKey()).not.toEqual(octets);
    } finally {
      await other.close();
    }
  });

  it('S15: the AK does not attest for whoever has the TPM open but not its auth', async () => {
    await backend.attester.quote(ATTESTED_PCRS, nonce);
    const { text: handles } = await tpm2Tool(swtpm, ['tpm2_getcap', 'handles-transient']);
    const refused: string[] = [];
    for (const handle of handles.match(/0x[0-9a-fA-F]+/g) ?? []) {
      const { ok, text } = await tpm2Tool(
        swtpm,
        ['tpm2_quote', '-c', handle, '-l', 'sha256:0', '-g', 'sha256'],
        {
          cwd: temp.path,
        },
      );
      expect(ok).toBe(false);
      refused.push(text);
    }
    await flushTpm(swtpm);
    expect(refused.join()).toMatch(/0x9[aA]2|authorization|0x910/);
  });

  it('Certify names the key, carries the nonce, and is verified by openssl dgst', async () => {
    const { attest, signature, publicArea } = await backend.attester.certify(keyId, nonce);
    const parsed = parseAttest(attest);
    expect(parsed.type === 'certify' && Buffer.from(parsed.name)).toEqual(
      Buffer.from(publicAreaName(publicArea)),
    );
    expect(Buffer.from(parsed.extraData)).toEqual(nonce);
    expect(await backend.attester.publicArea(keyId)).toEqual(publicArea);
    const ak = parsePublicArea(await backend.attester.attestationKey());
    await put('ak.pem', await akPem());
    await put('attest', attest);
    await put('signature', ecdsaConcatToDer(signatureToJose(parseSignature(signature), ak), 32));
    const dgst = ['dgst', '-sha256', '-verify', at('ak.pem'), '-signature', at('signature'), at('attest')];
    expect((await run('openssl', dgst)).stdout).toContain('Verified OK');
  });

  it('a quote is verified by tpm2_checkquote, with its PCR values and its nonce', async () => {
    const { attest, signature, pcrs } = await backend.attester.quote(ATTESTED_PCRS, nonce);
    const parsed = parseAttest(attest);
    expect(parsed.type === 'quote' && Buffer.from(parsed.pcrDigest)).toEqual(
      Buffer.from(pcrDigest('sha256', ATTESTED_PCRS, pcrs)),
    );
    await put('ak.pem', await akPem());
    await put('quote', attest);
    await put('quote.sig', signature);
    await put('quote.pcrs', serializedPcrs(pcrs));
    const check = (qualification: Buffer): Promise<{ ok: boolean; text: string }> =>
      tpm2Tool(swtpm, [
        ...(['tpm2_checkquote', '-u', at('ak.pem'), '-m', at('quote'), '-s', at('quote.sig')] as const),
        ...['-f', at('quote.pcrs'), '-q', qualification.toString('hex')],
      ]);
    expect((await check(nonce)).text).not.toMatch(/ERROR/);
    expect((await check(randomBytes(32))).ok).toBe(false);
    await put('quote.pcrs', serializedPcrs([...pcrs.slice(1), randomBytes(32)]));
    expect((await check(nonce)).ok).toBe(false);
  });

  /** An attester on the real TPM, where PCR 10 is extended right after each of the first `times` quotes. */
  const disturbed = (times: number): TpmAttester => {
    const connection = new TpmConnection({ tcti: swtpm.tcti, memory: host.memory });
    let left = times;
    const disturb = (esys: EsysConnection): EsysConnection =>
      new Proxy(esys, {
        get(target, member) {
          if (member !== 'quote') {
            const value: unknown = Reflect.get(target, member, target);
            return typeof value === 'function' ? (value.bind(target) as unknown) : value;
          }
          return async (args: Parameters<EsysConnection['quote']>[0]) => {
            const quoted = await target.quote(args);
            const pcr = { id: 10, kind: 'pcr' } as const;
            if (left-- > 0)
              await target.pcrExtend({
                pcr: new EsysHandle(pcr.id, pcr.kind),
                digests: sha256DigestValues(randomBytes(32)),
              });
            return quoted;
          };
        },
      });
    closing.push(() => connection.close());
    return new TpmAttester({
      connection: {
        run: (work, signal) => connection.run((tpm) => work({ ...tpm, esys: disturb(tpm.esys) }), signal),
      },
      keys: new TpmKeyTable(host.store),
      auths: new AuthDeriver(host.secret),
      protection: 'password',
    });
  };

  it('PCR values belong to the quote, although a PCR was extended between quoting and reading', async () => {
    const { attest, pcrs } = await disturbed(2).quote(ATTESTED_PCRS, nonce);
    const parsed = parseAttest(attest);
    expect(parsed.type === 'quote' && Buffer.from(parsed.pcrDigest)).toEqual(
      Buffer.from(pcrDigest('sha256', ATTESTED_PCRS, pcrs)),
    );
    expect(await codeOfAsync(() => disturbed(100).quote(ATTESTED_PCRS, nonce))).toBe('tpm_pcr_changed');
    for (const close of closing) await close();
  });

  it('several banks are quoted in the order asked for', async () => {
    const selection = [
      { bank: 'sha1', pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] },
      { bank: 'sha256', pcrs: [0, 23] },
    ] as const;
    const { attest, pcrs } = await backend.attester.quote(selection, nonce);
    expect(pcrs.map(({ length }) => length)).toEqual([...new Array<number>(10).fill(20), 32, 32]);
    const parsed = parseAttest(attest);
    expect(parsed.type === 'quote' && parsed.pcrSelection).toEqual(selection);
    const missing = [{ bank: 'sha512', pcrs: [0] }] as const;
    expect(await codeOfAsync(() => backend.attester.quote(missing, nonce))).toBe('unsupported_algorithm');
  });

  it('EKs: P-256 first, RSA last, each public area that of its certificate', async () => {
    const eks = await backend.attester.endorsementKeys();
    expect(eks.map(({ template }) => template)).toEqual(['L-2', 'H-3', 'L-1']);
    const ca = [await readFile(swtpm.caFile), await readFile(swtpm.issuerFile)].map(
      (pem) => new X509Certificate(pem),
    );
    for (const { publicArea, certificate } of eks) {
      const parsed = new X509Certificate(certificate);
      expect(parsed.raw.equals(Buffer.from(certificate))).toBe(true);
      expect(ca.some((issuer) => parsed.checkIssued(issuer) && parsed.verify(issuer.publicKey))).toBe(true);
      expect(publicAreaToKeyObject(parsePublicArea(publicArea)).equals(parsed.publicKey)).toBe(true);
    }
  });

  /** A credential for the AK by tpm2_makecredential: contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. */
  const makeCredential = async (
    template: EkTemplateName,
    name: Uint8Array,
    secret: Uint8Array,
  ): Promise<[Uint8Array, Uint8Array]> => {
    const ek = (await backend.attester.endorsementKeys()).find((found) => found.template === template);
    if (ek === undefined) throw new Error(`no EK ${template}`);
    await put('ek.pub', new TpmWriter().tpm2b(ek.publicArea).toOctets());
    await put('secret', secret);
    await tpm2Tools(swtpm, [
      [
        'tpm2_makecredential',
        '-Q',
        '-T',
        'none',
        '-u',
        at('ek.pub'),
        '-s',
        at('secret'),
        '-n',
        Buffer.from(name).toString('hex'),
        '-o',
        at('blob'),
      ],
    ]);
    const reader = new TpmReader((await readFile(at('blob'))).subarray(8), 'credential file');
    return [reader.tpm2b(512, 'idObject'), reader.tpm2b(512, 'secret')];
  };

  for (const template of ['L-2', 'L-1', 'H-3'] as const) {
    it(`activates a credential for the EK ${template}, and none that is for another AK`, async () => {
      const secret = randomBytes(32);
      const name = publicAreaName(await backend.attester.attestationKey());
      const [idObject, encSecret] = await makeCredential(template, name, secret);
      for (let round = 0; round < 3; round += 1) {
        const got = await backend.attester.activateCredential(template, idObject, encSecret);
        expect(Buffer.from(got)).toEqual(secret);
      }
      const other = Buffer.from(name);
      other[5] = (other[5] ?? 0) ^ 1;
      const wrong = await makeCredential(template, other, secret);
      expect(await codeOfAsync(() => backend.attester.activateCredential(template, ...wrong))).toBe(
        'key_not_found',
      );
      const noise: [Uint8Array, Uint8Array] = [randomBytes(20), randomBytes(20)];
      expect(await codeOfAsync(() => backend.attester.activateCredential(template, ...noise))).toBe(
        'key_not_found',
      );
      // Nothing was left behind by the refusals.
      expect(Buffer.from(await backend.attester.activateCredential(template, idObject, encSecret))).toEqual(
        secret,
      );
    });
  }

  it('an EK without a certificate is none', async () => {
    const call = (): Promise<Uint8Array> =>
      backend.attester.activateCredential('H-2', randomBytes(80), randomBytes(80));
    expect(await codeOfAsync(call)).toBe('key_not_found');
  });

  it('S9: nothing but 32 octets is ever put into extraData', async () => {
    for (const length of [0, 31, 33, 64]) {
      expect(await codeOfAsync(() => backend.attester.certify(keyId, randomBytes(length)))).toBe(
        'malformed_request',
      );
      expect(await codeOfAsync(() => backend.attester.quote(ATTESTED_PCRS, randomBytes(length)))).toBe(
        'malformed_request',
      );
    }
  });

  it('certifies only keys it holds', async () => {
    expect(await codeOfAsync(() => backend.attester.certify(randomUUID(), nonce))).toBe('key_not_found');
  });

  it('says which TPM it is', async () => {
    const identity = await backend.attester.identity();
    expect(identity).toMatchObject({ manufacturer: 'IBM', vendor: 'SW TPM' });
    expect(identity.srkName).toBe(host.memory.tpm?.srkName);
    expect(identity.srkName).toMatch(/^000b[0-9a-f]{64}$/);
  });

  it('a Certify by the AK verifies under the AK and under no other key', async () => {
    const { attest, signature, publicArea } = await backend.attester.certify(keyId, nonce);
    const ak = parsePublicArea(await backend.attester.attestationKey());
    expect(verifyTpmSignature(ak, attest, signature)).toBe(true);
    expect(verifyTpmSignature(parsePublicArea(publicArea), attest, signature)).toBe(false);
    expect(createPublicKey(await akPem()).asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
  });
});

/** The file that tpm2_quote writes: C structures TPML_PCR_SELECTION and TPML_DIGEST (at most 8 each), little-endian. */
function serializedPcrs(pcrs: readonly Uint8Array[]): Buffer {
  const selection = Buffer.alloc(4 + 16 * 8);
  selection.writeUInt32LE(1, 0);
  selection.writeUInt16LE(0x000b, 4);
  selection.set([3, 0xff, 0x47, 0x00], 6);
  const lists: Buffer[] = [];
  for (let start = 0; start < pcrs.length; start += 8) {
    const part = pcrs.slice(start, start + 8);
    const list = Buffer.alloc(4 + 8 * 66);
    list.writeUInt32LE(part.length, 0);
    part.forEach((value, index) => {
      list.writeUInt16LE(value.length, 4 + index * 66);
      list.set(value, 6 + index * 66);
    });
    lists.push(list);
  }
  const count = Buffer.alloc(4);
  count.writeUInt32LE(lists.length, 0);
  return Buffer.concat([selection, count, ...lists]);
}
