/**
 * What stands for a TPM where only the issuer is measured: keys of OpenSSL, and statements about them that are in
 * every octet what a TPM makes. The issuer can not tell; that is why it asks who endorses a TPM.
 */
import { sign } from 'node:crypto';
import type { Attester } from '../../src/backend/attester.ts';
import type { GenerateRequest, HardwareKey, KeyBackend, SignInput } from '../../src/backend/backend.ts';
import { serializeAttest, type ClockInfo } from '../../src/wire/tpm/attest.ts';
import { auditCounterPublic, COUNTER_OCTETS, OWNER_INDICES } from '../../src/wire/tpm/audit-counter.ts';
import { publicAreaName } from '../../src/wire/tpm/name.ts';
import { nvName, serializeNvPublic } from '../../src/wire/tpm/nv-public.ts';
import type { PcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import { parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { publicAreaToJwk } from '../../src/wire/tpm/public-key.ts';
import { rebuildEkPublic } from '../../src/wire/tpm/templates.ts';
import { ecKeyPair } from '../../test/support/certificates.ts';
import {
  POSED_CLOCK,
  POSED_FIRMWARE,
  posedCertify,
  posedPcrs,
  posedQuote,
  posingAgentKey,
  posingAk,
  posingSignature,
  qualifiedNameOf,
  type PosingKey,
} from '../../test/support/posing-tpm.ts';
import { openCredential } from './open-credential.ts';
import type { TestManufacturer } from './test-manufacturer.ts';

interface HeldKey {
  readonly key: HardwareKey;
  readonly posing: PosingKey;
}

const COUNTER = auditCounterPublic(OWNER_INDICES.first, true);

/** As much of a TPM as enrolment and issuance ask for: it makes P-256 keys and forgets none. */
export class OpensslTpm implements KeyBackend {
  readonly kind = 'tpm';
  readonly describe = notAsked;
  readonly readProtection = notAsked;
  readonly destroy = notAsked;
  readonly close = notAsked;
  readonly attester: Attester;
  readonly ekPublic: Uint8Array;
  /** TPMS_NV_PUBLIC of its counter. */
  readonly counterPublic = serializeNvPublic(COUNTER);
  readonly #ak = posingAk();
  readonly #keys = new Map<string, HeldKey>();
  readonly #counterName = nvName(COUNTER);
  readonly #signer = qualifiedNameOf(this.#ak);

  constructor(manufacturer: TestManufacturer) {
    const ek = ecKeyPair();
    this.ekPublic = rebuildEkPublic('L-2', ek.publicKey);
    const certificate = manufacturer.endorse(ek.publicKey);
    const ak = this.#ak;
    this.attester = {
      identity: () =>
        Promise.resolve({
          manufacturer: 'BENC',
          vendor: 'bench',
          firmwareVersion: '1.0',
          resetCount: POSED_CLOCK.resetCount,
          restartCount: POSED_CLOCK.restartCount,
          srkName: '',
        }),
      endorsementKeys: () => Promise.resolve([{ template: 'L-2', publicArea: this.ekPublic, certificate }]),
      attestationKey: () => Promise.resolve(ak.publicArea),
      activateCredential: (_template, idObject, encSecret) =>
        Promise.resolve(openCredential(ek, publicAreaName(ak.publicArea), idObject, encSecret)),
      publicArea: (keyId) => Promise.resolve(this.#held(keyId).posing.publicArea),
      certify: (keyId, qualifyingData) => {
        const { publicArea } = this.#held(keyId).posing;
        const attest = posedCertify(ak, publicArea, qualifyingData, { clockInfo: clockInfo() });
        return Promise.resolve({ publicArea, attest, signature: posingSignature(ak, attest) });
      },
      quote: (selection, qualifyingData) => Promise.resolve(this.#quote(selection, qualifyingData)),
    };
  }

  /** TPM2_NV_Certify of the counter at `value`. */
  certifyCounter(
    value: bigint,
    extraData: Uint8Array,
  ): { readonly attest: Uint8Array; readonly sig: Uint8Array } {
    const nvContents = Buffer.alloc(COUNTER_OCTETS);
    nvContents.writeBigUInt64BE(value);
    const attest = serializeAttest({
      type: 'nv',
      qualifiedSigner: this.#signer,
      extraData,
      clockInfo: clockInfo(),
      firmwareVersion: POSED_FIRMWARE,
      indexName: this.#counterName,
      offset: 0,
      nvContents,
    });
    return { attest, sig: posingSignature(this.#ak, attest) };
  }

  generate({ keyId, purpose, algorithm }: GenerateRequest): Promise<HardwareKey> {
    const posing = posingAgentKey();
    const publicJwk = publicAreaToJwk(parsePublicArea(posing.publicArea));
    const key = { keyId, purpose, algorithm, publicJwk };
    this.#keys.set(keyId, { key, posing });
    return Promise.resolve(key);
  }

  find(keyId: string): Promise<HardwareKey | undefined> {
    return Promise.resolve(this.#keys.get(keyId)?.key);
  }

  list(): Promise<readonly HardwareKey[]> {
    return Promise.resolve([...this.#keys.values()].map(({ key }) => key));
  }

  sign(keyId: string, { kind, octets }: SignInput): Promise<Uint8Array> {
    if (kind !== 'message') throw new Error('it signs whole messages');
    const { privateKey } = this.#held(keyId).posing;
    return Promise.resolve(sign('sha256', octets, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
  }

  #quote(selection: PcrSelection, qualifyingData: Uint8Array) {
    const pcrs = posedPcrs(selection);
    const attest = posedQuote(this.#ak, selection, pcrs, qualifyingData, { clockInfo: clockInfo() });
    return { attest, signature: posingSignature(this.#ak, attest), pcrs };
  }

  #held(keyId: string): HeldKey {
    const held = this.#keys.get(keyId);
    if (held === undefined) throw new Error(`there is no key ${keyId}`);
    return held;
  }
}

/** Under power since this process began. */
function clockInfo(): ClockInfo {
  return { ...POSED_CLOCK, clock: POSED_CLOCK.clock + BigInt(Math.floor(performance.now())) };
}

function notAsked(): never {
  throw new Error('nothing that is measured asks for this');
}
