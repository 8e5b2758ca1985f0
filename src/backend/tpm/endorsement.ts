/** Endorsement keys: their certificates in NV, and how each EK comes into the TPM. */
import { X509Certificate } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { hex, sameOctets } from '../../wire/tpm/codec.ts';
import { TPMA_NV } from '../../wire/tpm/constants.ts';
import { trimNvCertificate } from '../../wire/tpm/nv-certificate.ts';
import { parseNvPublic } from '../../wire/tpm/nv-public.ts';
import { EK_TEMPLATES, ekTemplate, rebuildEkPublic, type EkTemplateName } from '../../wire/tpm/templates.ts';
import type { EndorsementKey } from '../attester.ts';
import type { ObjectSource } from './context-cache.ts';
import { PERMANENT, type EsysConnection, type EsysHandle } from './esys.ts';
import type { OpenTpm } from './tpm-connection.ts';
import { existingHandles } from './tpm-facts.ts';

/** P-256 first; RSA last, for making an RSA EK takes a chip seconds. */
const PREFERENCE: readonly EkTemplateName[] = ['L-2', 'H-2', 'H-3', 'H-4', 'L-1', 'H-1', 'H-6', 'H-7'];

/** EK Credential Profile §2.2.1.4: beside a low-range certificate may lie a nonce and another template. */
const NONCE_OFFSET = 1;
const TEMPLATE_OFFSET = 2;
const EK_NV_FIRST = 0x01c00002;
const EK_NV_LAST = 0x01c0001f;
/** Where EKs are made persistent (TCG Registry of Reserved Handles §2.3.1). */
const EK_PERSISTENT_FIRST = 0x81010000;
const EK_PERSISTENT_LAST = 0x8101ffff;
const MAX_CERTIFICATE = 8192;
// TPM_PT_NV_BUFFER_MAX is at least 512 on PC Client TPMs.
const NV_CHUNK = 512;

/** A certificate that can not be used, and why. */
export interface UnusableCertificate {
  readonly template: EkTemplateName;
  readonly reason: KeydError;
}

export interface FoundEndorsementKeys {
  readonly usable: readonly EndorsementKey[];
  readonly unusable: readonly UnusableCertificate[];
}

/** The EKs that have a certificate in NV, preferred first. `publicArea` is rebuilt from certificate and template. */
export async function findEndorsementKeys(esys: EsysConnection): Promise<FoundEndorsementKeys> {
  const indices = await existingHandles(esys, EK_NV_FIRST, EK_NV_LAST);
  const usable: EndorsementKey[] = [];
  const unusable: UnusableCertificate[] = [];
  for (const template of PREFERENCE) {
    if (!indices.includes(EK_TEMPLATES[template].certificateIndex)) continue;
    try {
      usable.push(await readEndorsementKey(esys, template, indices));
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
      unusable.push({ template, reason: thrown });
    }
  }
  return { usable, unusable };
}

/**
 * How the EK of a certificate is loaded: from its persistent handle if it has one, else by TPM2_CreatePrimary.
 * @throws KeydError `key_not_found` if the TPM has no certificate by this template
 */
export async function endorsementKeySource(
  tpm: OpenTpm,
  template: EkTemplateName,
): Promise<EndorsementKeySource> {
  const { esys } = tpm;
  const indices = await existingHandles(esys, EK_NV_FIRST, EK_NV_LAST);
  const { publicArea } = await readEndorsementKey(esys, template, indices);
  for (const tpmHandle of await existingHandles(esys, EK_PERSISTENT_FIRST, EK_PERSISTENT_LAST)) {
    const handle = await esys.fromTpmHandle({ tpmHandle });
    if (sameOctets((await esys.readPublic({ object: handle })).outPublic, publicArea))
      return { persistent: handle };
    await esys.closeHandle(handle);
  }
  const nonce = await readNonce(esys, template, indices);
  return { source: primarySource(esys, template, publicArea, nonce) };
}

export type EndorsementKeySource =
  | { readonly persistent: EsysHandle; readonly source?: never }
  | { readonly source: ObjectSource; readonly persistent?: never };

function primarySource(
  esys: EsysConnection,
  template: EkTemplateName,
  expected: Uint8Array,
  nonce: Uint8Array,
): ObjectSource {
  return {
    id: `ek ${template}`,
    slotsToLoad: 1,
    auth: () => new Uint8Array(),
    load: async () => {
      const { handle, outPublic } = await esys.createPrimary({
        parent: PERMANENT.endorsement,
        inPublic: ekTemplate(template, nonce),
      });
      if (sameOctets(outPublic, expected)) return handle;
      await esys.flushContext(handle);
      throw new KeydError(
        'key_not_found',
        `The TPM makes another EK by template ${template} than its certificate names; was the endorsement seed changed?`,
      );
    },
  };
}

async function readEndorsementKey(
  esys: EsysConnection,
  template: EkTemplateName,
  indices: readonly number[],
): Promise<EndorsementKey> {
  const { certificateIndex, userWithAuth } = EK_TEMPLATES[template];
  if (!indices.includes(certificateIndex)) {
    throw new KeydError('key_not_found', `The TPM has no EK certificate for template ${template}`);
  }
  if (!userWithAuth && indices.includes(certificateIndex + TEMPLATE_OFFSET)) {
    throw new KeydError(
      'unsupported_algorithm',
      `The EK of ${hex(certificateIndex, 8)} has a template of its own, which no issuer could rebuild`,
    );
  }
  const certificate = trimNvCertificate(await readNv(esys, certificateIndex));
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(certificate);
  } catch (cause) {
    throw new KeydError(
      'malformed_structure',
      `The EK certificate at ${hex(certificateIndex, 8)} is not X.509`,
      {
        cause,
      },
    );
  }
  return { template, publicArea: rebuildEkPublic(template, publicKeyOf(parsed)), certificate };
}

function publicKeyOf(certificate: X509Certificate): X509Certificate['publicKey'] {
  try {
    return certificate.publicKey;
  } catch (cause) {
    throw new KeydError(
      'unsupported_algorithm',
      'The key of the EK certificate is of a kind that is not supported',
      {
        cause,
      },
    );
  }
}

async function readNonce(
  esys: EsysConnection,
  template: EkTemplateName,
  indices: readonly number[],
): Promise<Uint8Array> {
  const { certificateIndex, userWithAuth } = EK_TEMPLATES[template];
  const index = certificateIndex + NONCE_OFFSET;
  return userWithAuth || !indices.includes(index) ? new Uint8Array() : readNv(esys, index);
}

/** The content of an index that is readable with its own empty auth or the owner's. */
async function readNv(esys: EsysConnection, tpmHandle: number): Promise<Uint8Array> {
  const nvIndex = await esys.fromTpmHandle({ tpmHandle });
  try {
    const { attributes, dataSize } = parseNvPublic((await esys.nvReadPublic({ nvIndex })).nvPublic);
    if (dataSize > MAX_CERTIFICATE) {
      throw new KeydError('malformed_structure', `NV index ${hex(tpmHandle, 8)} holds ${dataSize} octets`);
    }
    const auth = (attributes & TPMA_NV.authRead) !== 0 ? nvIndex : PERMANENT.owner;
    const chunks: Uint8Array[] = [];
    for (let offset = 0; offset < dataSize; offset += NV_CHUNK) {
      chunks.push(await esys.nvRead({ auth, nvIndex, size: Math.min(NV_CHUNK, dataSize - offset), offset }));
    }
    return new Uint8Array(Buffer.concat(chunks));
  } finally {
    await esys.closeHandle(nvIndex);
  }
}
