/**
 * Which TPM this is. Four conditions look alike from a failed call and have four different remedies:
 *
 * | condition | told by | what to do |
 * | --- | --- | --- |
 * | reset (power cycle) | contexts and sessions void, SRK the same | nothing: keys are loaded again |
 * | cleared (TPM2_Clear) | another SRK, the same EK | keys are gone: accept the TPM, make agents anew, enrol again |
 * | replaced | another SRK, another EK | put the TPM or disk back, or accept it as after a clear |
 * | lockout | TPM_RC_LOCKOUT | wait, or reset it with the lockout auth; never try again by itself |
 */
import { createHash } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { computeName } from '../../wire/tpm/name.ts';
import { hasAttributes, parsePublicArea, type PublicArea } from '../../wire/tpm/public-area.ts';
import { ekTemplate, srkTemplate } from '../../wire/tpm/templates.ts';
import { PERMANENT, type EsysConnection, type EsysHandle } from './esys.ts';
import { existingHandles } from './tpm-facts.ts';

/** Where the TCG Provisioning Guidance puts the SRK. */
export const SRK_HANDLE = 0x81000001;

/** What is kept of a TPM between starts. */
export interface RememberedTpm {
  /** Name of the SRK, hex. */
  readonly srkName: string;
  /** SHA-256 of the TPMT_PUBLIC of the EK by template L-2, hex: the same after a TPM2_Clear. */
  readonly ekHash: string;
}

/** Durable memory of the TPM that the keys belong to; a resolved `save` is durable. */
export interface TpmMemory {
  load(): Promise<RememberedTpm | undefined>;
  save(tpm: RememberedTpm): Promise<void>;
}

/** The storage root key that agent keys are children of. */
export interface Srk {
  readonly handle: EsysHandle;
  /** Name, hex. */
  readonly name: string;
  /** What `name` is the Name of. */
  readonly area: PublicArea;
}

/**
 * The SRK of the remembered TPM. On first use whatever storage key is at 0x81000001 is taken and
 * remembered (trust on first use); where there is none, the TCG one is made persistent.
 * @throws KeydError `tpm_cleared`, `tpm_replaced`, `tpm_unavailable`
 */
export async function recogniseTpm(esys: EsysConnection, memory: TpmMemory): Promise<Srk> {
  const remembered = await memory.load();
  const persistent = await findSrk(esys);
  if (remembered !== undefined && persistent?.name === remembered.srkName) return persistent;
  if (remembered === undefined) {
    const srk = persistent ?? (await provisionSrk(esys));
    await memory.save({ srkName: srk.name, ekHash: await ekHash(esys) });
    return srk;
  }
  const derived = await deriveSrk(esys);
  await esys.flushContext(derived.handle);
  if (derived.name !== remembered.srkName) throw await otherTpm(esys, remembered);
  if (persistent === undefined) {
    const srk = await provisionSrk(esys);
    if (srk.name !== remembered.srkName) throw await otherTpm(esys, remembered);
    return srk;
  }
  throw new KeydError(
    'tpm_unavailable',
    `Another key took the place of the SRK at 0x81000001; remove it (tpm2_evictcontrol -C o -c 0x81000001), then the SRK is put back`,
  );
}

/** Takes this TPM for the one to remember from now on, whatever was remembered. */
export async function adoptTpm(esys: EsysConnection, memory: TpmMemory): Promise<Srk> {
  const srk = (await findSrk(esys)) ?? (await provisionSrk(esys));
  await memory.save({ srkName: srk.name, ekHash: await ekHash(esys) });
  return srk;
}

async function otherTpm(esys: EsysConnection, remembered: RememberedTpm): Promise<KeydError> {
  return (await ekHash(esys)) === remembered.ekHash
    ? new KeydError(
        'tpm_cleared',
        'The TPM was cleared, so every key made before is gone: accept it, make the agents’ keys anew and enrol this host again',
      )
    : new KeydError(
        'tpm_replaced',
        'This is another TPM than the one that holds the keys: put the right one back, or accept this one, make the agents’ keys anew and enrol this host again',
      );
}

async function findSrk(esys: EsysConnection): Promise<Srk | undefined> {
  if (!(await existingHandles(esys, SRK_HANDLE, SRK_HANDLE)).includes(SRK_HANDLE)) return undefined;
  const handle = await esys.fromTpmHandle({ tpmHandle: SRK_HANDLE });
  const { outPublic, name } = await esys.readPublic({ object: handle });
  const area = parsePublicArea(outPublic);
  const fit =
    hasAttributes(
      area,
      'fixedTPM',
      'fixedParent',
      'sensitiveDataOrigin',
      'userWithAuth',
      'restricted',
      'decrypt',
    ) && !hasAttributes(area, 'sign');
  if (!fit || Buffer.compare(computeName(area.nameAlg, outPublic), name) !== 0) {
    throw new KeydError(
      'tpm_unavailable',
      'The key at 0x81000001 is no storage root key; remove it (tpm2_evictcontrol)',
    );
  }
  return { handle, name: name.toString('hex'), area };
}

async function provisionSrk(esys: EsysConnection): Promise<Srk> {
  const derived = await deriveSrk(esys);
  try {
    const handle = await esys.evictControl({
      auth: PERMANENT.owner,
      object: derived.handle,
      persistentHandle: SRK_HANDLE,
    });
    if (handle === undefined) throw new KeydError('tpm_unavailable', 'The SRK was not made persistent');
    return { ...derived, handle };
  } finally {
    await esys.flushContext(derived.handle);
  }
}

async function deriveSrk(esys: EsysConnection): Promise<Srk> {
  const { handle, outPublic } = await esys.createPrimary({
    parent: PERMANENT.owner,
    inPublic: srkTemplate(),
  });
  const name = Buffer.from(computeName('sha256', outPublic)).toString('hex');
  return { handle, name, area: parsePublicArea(outPublic) };
}

// Template L-2 whether or not there is a certificate for it: every PC Client TPM has P-256, and it is quick.
async function ekHash(esys: EsysConnection): Promise<string> {
  const { handle, outPublic } = await esys.createPrimary({
    parent: PERMANENT.endorsement,
    inPublic: ekTemplate('L-2'),
  });
  await esys.flushContext(handle);
  return createHash('sha256').update(outPublic).digest('hex');
}
