/** EK certificates (TCG EK Credential Profile 2.6): from what a chip has in NV to what it says about the TPM. */
import type { KeyObject } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { certificatePublicKey, parseCertificate, readName, type X509Fields } from '../../wire/x509.ts';
import {
  basicConstraints,
  directoryNames,
  EXTENSION,
  extendedKeyUsage,
  hasKeyUsage,
  readExtension,
} from '../../wire/x509-extensions.ts';
import { CURVES } from '../../wire/tpm/constants.ts';
import { trimNvCertificate } from '../../wire/tpm/nv-certificate.ts';
import type { Verdict } from './checks.ts';
import {
  EK_CERTIFICATE_PURPOSE,
  TPM_MANUFACTURER,
  TPM_MODEL,
  TPM_SPECIFICATION,
  TPM_VERSION,
} from './tcg-oids.ts';
import { isRocaWeak } from './weak-rsa.ts';

export interface EkCertificate {
  readonly certificate: X509Fields;
  readonly publicKey: KeyObject;
}

/** What the vendor says about the TPM model (EK Credential Profile §3.2.9, §3.2.10). */
export interface TpmModel {
  /** TCG vendor id: `id:` and 8 hex digits. */
  readonly manufacturer: string;
  readonly model: string;
  /** Firmware version at manufacture. */
  readonly version: string;
  /** TPM library specification: `2.0`. */
  readonly family: string;
  readonly level: number;
  /** Revision times 100 (116 is 1.16). */
  readonly revision: number;
}

/** Which models the operator takes. */
export interface TpmModelPolicy {
  /** Revisions below are refused; 116 (1.16) is the first that chips were widely certified for. */
  readonly minimumRevision: number;
  /** Known-weak parts; a field that is absent matches any. */
  readonly denied: readonly {
    readonly manufacturer: string;
    readonly model?: string;
    readonly version?: string;
    readonly reason: string;
  }[];
}

/** Curves that EK templates exist for, by their OpenSSL names. */
const EK_CURVES: readonly (string | undefined)[] = Object.values(CURVES).map(({ openssl }) => openssl);

/**
 * Reads the certificate and its key. RSAES-OAEP keys (TPM 1.2) and other curves are refused.
 * @throws KeydError `malformed_structure`
 */
export function parseEkCertificate(stored: Uint8Array): EkCertificate {
  const certificate = parseCertificate(trimNvCertificate(stored), 'EK certificate');
  const publicKey = certificatePublicKey(certificate, 'EK certificate');
  const curve = publicKey.asymmetricKeyDetails?.namedCurve;
  if (publicKey.asymmetricKeyType !== 'rsa' && !EK_CURVES.includes(curve)) {
    const kind = curve ?? publicKey.asymmetricKeyType ?? 'unknown';
    throw new KeydError(
      'malformed_structure',
      `EK certificate has a key of the kind ${kind}, which no EK has`,
    );
  }
  return { certificate, publicKey };
}

/** Checks that the certificate is one for an EK and that the model is wanted; gives what it says of the TPM. */
export function checkEkProfile(ek: EkCertificate, policy: TpmModelPolicy, verdict: Verdict): TpmModel {
  const { certificate, publicKey } = ek;
  if (basicConstraints(certificate)?.ca === true)
    verdict.reject('it is the certificate of a CA, not of an EK');
  if (extendedKeyUsage(certificate)?.includes(EK_CERTIFICATE_PURPOSE) !== true) {
    verdict.reject(`it is not for an EK: the purpose ${EK_CERTIFICATE_PURPOSE} is missing`);
  }
  const usage = publicKey.asymmetricKeyType === 'rsa' ? 'keyEncipherment' : 'keyAgreement';
  if (hasKeyUsage(certificate, usage) !== true) verdict.reject(`its key usage lacks ${usage}`);
  if (hasKeyUsage(certificate, 'keyCertSign') === true) verdict.reject('its key may sign certificates');

  if (isRocaWeak(publicKey)) {
    verdict.reject('its RSA key can be computed by anyone (ROCA, CVE-2017-15361)');
  }

  const model = readTpmModel(certificate, verdict);
  judgeTpmModel(model, policy, verdict);
  return model;
}

/** Whether the model is wanted: family 2.0, revision floor, deny-list. */
export function judgeTpmModel(model: TpmModel, policy: TpmModelPolicy, verdict: Verdict): void {
  if (model.family !== '2.0') verdict.deny(`the TPM is of family ${JSON.stringify(model.family)}, not "2.0"`);
  if (model.revision < policy.minimumRevision) {
    verdict.deny(
      `the TPM implements revision ${model.revision}; at least ${policy.minimumRevision} is wanted`,
    );
  }
  const denied = policy.denied.find(
    (entry) =>
      entry.manufacturer === model.manufacturer &&
      (entry.model === undefined || entry.model === model.model) &&
      (entry.version === undefined || entry.version === model.version),
  );
  if (denied !== undefined)
    verdict.deny(`${model.manufacturer} ${model.model} is not accepted: ${denied.reason}`);
}

function readTpmModel(certificate: X509Fields, verdict: Verdict): TpmModel {
  const attributes = directoryNames(certificate).flatMap((name) => readName(name, 'subjectAltName'));
  const only = (type: string, what: string): string => {
    const [first, ...more] = attributes.filter((attribute) => attribute.type === type);
    if (first === undefined || more.length > 0) verdict.reject(`its subjectAltName has not one ${what}`);
    return first.value;
  };
  const manufacturer = only(TPM_MANUFACTURER, 'TPM manufacturer');
  if (!/^id:[0-9A-F]{8}$/i.test(manufacturer)) {
    verdict.reject(`its TPM manufacturer ${JSON.stringify(manufacturer)} is no TCG vendor id`);
  }
  const specification = readSpecification(certificate);
  if (specification === undefined)
    verdict.reject('it has no TPM specification (subject directory attribute)');
  return {
    manufacturer: `id:${manufacturer.slice(3).toUpperCase()}`,
    model: only(TPM_MODEL, 'TPM model'),
    version: only(TPM_VERSION, 'TPM version'),
    ...specification,
  };
}

/** TPMSpecification ::= SEQUENCE { family UTF8String, level INTEGER, revision INTEGER } */
function readSpecification(
  certificate: X509Fields,
): { readonly family: string; readonly level: number; readonly revision: number } | undefined {
  const oid = EXTENSION.subjectDirectoryAttributes;
  return readExtension(certificate, oid, 'subjectDirectoryAttributes', (reader) => {
    const attributes = reader.sequence();
    let found: { family: string; level: number; revision: number } | undefined;
    while (!attributes.atEnd) {
      const attribute = attributes.sequence();
      const type = attribute.oid();
      const values = attribute.set();
      attribute.end();
      if (type !== TPM_SPECIFICATION) continue;
      if (found !== undefined) attributes.fail('has two TPM specifications');
      const value = values.sequence();
      values.end();
      found = {
        family: value.utf8String(),
        level: value.smallInteger(0xffff),
        revision: value.smallInteger(0xffff),
      };
      value.end();
    }
    return found;
  });
}
