/** Who endorses the fleet's TPMs: a root, a CA below it, and certificates for EKs (TCG EK Credential Profile). */
import type { KeyObject } from 'node:crypto';
import { toPem } from '../../src/wire/pem.ts';
import {
  basicConstraintsOf,
  commonName,
  directoryNameOf,
  ecKeyPair,
  extendedKeyUsageOf,
  keyUsageOf,
  mintCertificate,
  spkiOf,
  tpmSpecificationOf,
} from '../../test/support/certificates.ts';

const KEY_AGREEMENT = 4;
const KEY_CERT_SIGN = 5;
const EK_CERTIFICATE = '2.23.133.8.1';
/** TCG OIDs of manufacturer, model and version. */
const MODEL = { '2.23.133.2.1': 'id:42454E43', '2.23.133.2.2': 'bench', '2.23.133.2.3': 'id:00010000' };
const ROOT_NAME = commonName('bench TPM root');
const CA_NAME = commonName('bench TPM CA');

export interface TestManufacturer {
  /** PEM. */
  readonly root: string;
  /** Of the CA that signs for EKs, PEM. */
  readonly intermediate: string;
  /** DER of the certificate of an EK. */
  endorse(ek: KeyObject): Uint8Array;
}

export function makeManufacturer(): TestManufacturer {
  const root = ecKeyPair();
  const ca = ecKeyPair();
  let serial = 2;
  const authority = (subject: Uint8Array, key: KeyObject): string =>
    toPem(
      'CERTIFICATE',
      mintCertificate({
        issuer: ROOT_NAME,
        subject,
        serial: (serial += 1),
        spki: spkiOf(key),
        extensions: [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN)],
        signer: root.privateKey,
      }),
    );
  return {
    root: authority(ROOT_NAME, root.publicKey),
    intermediate: authority(CA_NAME, ca.publicKey),
    endorse: (ek) =>
      mintCertificate({
        issuer: CA_NAME,
        serial: (serial += 1),
        spki: spkiOf(ek),
        extensions: [
          basicConstraintsOf(false),
          keyUsageOf(KEY_AGREEMENT),
          extendedKeyUsageOf(EK_CERTIFICATE),
          directoryNameOf(MODEL),
          tpmSpecificationOf('2.0', 0, 159),
        ],
        signer: ca.privateKey,
      }),
  };
}
