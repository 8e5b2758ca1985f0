/**
 * An impostor who knows everything public about this host (its EK certificate, its EK) and brings an AK of
 * his own making: first one that is not `restricted`, then a software key that claims to be everything.
 */
import { createHash, createHmac, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { parsePublicArea, serializePublicArea } from '../../src/wire/tpm/public-area.ts';
import { TPMA_OBJECT } from '../../src/wire/tpm/constants.ts';
import { akTemplate, rebuildEkPublic } from '../../src/wire/tpm/templates.ts';
import { askIssuer, type IssuerAnswer } from './issuer-client.ts';

export interface ForgeryTarget {
  readonly issuerUrl: string;
  readonly ca: string;
  /** DER of the EK certificate that the real host enrolled with (template L-2). */
  readonly ekCertificate: Uint8Array;
}

const base64url = (octets: Uint8Array): string => Buffer.from(octets).toString('base64url');

/** M1 with an AK that may sign anything, statements about keys it has never seen among them. */
export async function enrolUnrestricted(target: ForgeryTarget): Promise<IssuerAnswer> {
  return sendM1(target, softwareAk(~TPMA_OBJECT.restricted));
}

/** M1 with a software key that claims all the right attributes, then evidence without the TPM's secret. */
export async function enrolSoftwareKey(target: ForgeryTarget): Promise<IssuerAnswer> {
  const ak = softwareAk(~0);
  const { status, body } = await sendM1(target, ak);
  if (status !== 200) return { status, body };
  const nothing = base64url(randomBytes(64));
  const key = { public: base64url(ak), certify: { attest: nothing, sig: nothing } };
  return askIssuer(`${target.issuerUrl}/v1/attest/evidence`, target.ca, {
    session: body['session'],
    proof: base64url(createHmac('sha256', randomBytes(32)).update('guess').digest()),
    quote: {
      attest: nothing,
      sig: nothing,
      pcrs: Array.from({ length: 12 }, () => base64url(randomBytes(32))),
    },
    hostKey: key,
    auditKey: key,
  });
}

/** A TPMT_PUBLIC over a software key: nothing in the structure itself can show that. */
function softwareAk(attributeMask: number): Uint8Array {
  const { x = '', y = '' } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    format: 'jwk',
  });
  const template = parsePublicArea(akTemplate(createHash('sha256').update('impostor').digest()));
  if (template.type !== 'ecc') throw new TypeError('the AK template is not ECC');
  return serializePublicArea({
    ...template,
    attributes: template.attributes & attributeMask,
    x: Buffer.from(x, 'base64url'),
    y: Buffer.from(y, 'base64url'),
  });
}

async function sendM1(target: ForgeryTarget, ak: Uint8Array): Promise<IssuerAnswer> {
  const { publicKey } = new X509Certificate(target.ekCertificate);
  return askIssuer(`${target.issuerUrl}/v1/attest/enroll`, target.ca, {
    v: 1,
    ek: {
      template: 'L-2',
      public: base64url(rebuildEkPublic('L-2', publicKey)),
      cert: base64url(target.ekCertificate),
      chain: [],
    },
    ak: { public: base64url(ak) },
    tpmInfo: 'impostor',
  });
}
