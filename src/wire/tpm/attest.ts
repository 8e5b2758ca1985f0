/** TPMS_ATTEST (Part 2 §10.12.12): what a TPM says about itself under an attestation key's signature. */
import { TpmReader, TpmWriter, hex } from './codec.ts';
import { TPM_GENERATED_VALUE, TPM_ST } from './constants.ts';
import { readPcrSelection, serializePcrSelection, type PcrSelection } from './pcr-selection.ts';

/** TPMS_CLOCK_INFO (Part 2 §10.11.1). */
export interface ClockInfo {
  /** Milliseconds the TPM has been powered, since its last TPM2_Clear. */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** False while `clock` may repeat an earlier value after an unorderly shutdown. */
  readonly safe: boolean;
}

interface AttestHead {
  /** Qualified Name of the signing key. */
  readonly qualifiedSigner: Uint8Array;
  /** The caller's qualifying data: the nonce, or the hash that binds it. */
  readonly extraData: Uint8Array;
  readonly clockInfo: ClockInfo;
  readonly firmwareVersion: bigint;
}

/** TPMS_CERTIFY_INFO: an object with this Name is loaded in this TPM. */
export interface CertifyAttest extends AttestHead {
  readonly type: 'certify';
  readonly name: Uint8Array;
  readonly qualifiedName: Uint8Array;
}

/** TPMS_QUOTE_INFO. */
export interface QuoteAttest extends AttestHead {
  readonly type: 'quote';
  readonly pcrSelection: PcrSelection;
  readonly pcrDigest: Uint8Array;
}

/** TPMS_CREATION_INFO. */
export interface CreationAttest extends AttestHead {
  readonly type: 'creation';
  readonly objectName: Uint8Array;
  readonly creationHash: Uint8Array;
}

/** TPMS_NV_CERTIFY_INFO. */
export interface NvAttest extends AttestHead {
  readonly type: 'nv';
  readonly indexName: Uint8Array;
  readonly offset: number;
  readonly nvContents: Uint8Array;
}

/** TPMS_COMMAND_AUDIT_INFO. */
export interface CommandAuditAttest extends AttestHead {
  readonly type: 'command-audit';
  /** Up by one at the first audited command after the digest was taken. */
  readonly auditCounter: bigint;
  /** TPM_ALG_ID; a TPM in factory state may name one that this project does not know. */
  readonly digestAlg: number;
  /** Over the audited commands since it was last taken; empty where there were none. */
  readonly auditDigest: Uint8Array;
  /** Over the codes of the commands that are audited. */
  readonly commandDigest: Uint8Array;
}

export type Attest = CertifyAttest | QuoteAttest | CreationAttest | NvAttest | CommandAuditAttest;

const MAX_NAME = 2 + 64;
const MAX_DATA = 2 + 64;
// TPM2B_MAX_NV_BUFFER of real parts; libtpms has 1024.
const MAX_NV = 2048;

const TYPES = {
  certify: TPM_ST.ATTEST_CERTIFY,
  quote: TPM_ST.ATTEST_QUOTE,
  creation: TPM_ST.ATTEST_CREATION,
  nv: TPM_ST.ATTEST_NV,
  'command-audit': TPM_ST.ATTEST_COMMAND_AUDIT,
} as const;

/**
 * The structure whose octets were signed; verify the signature over these octets before believing it.
 * @throws KeydError `malformed_structure`: wrong magic, unknown type, truncated, trailing octets
 */
export function parseAttest(octets: Uint8Array): Attest {
  const reader = new TpmReader(octets, 'TPMS_ATTEST');
  const magic = reader.u32();
  if (magic !== TPM_GENERATED_VALUE) reader.fail(`the magic is ${hex(magic, 8)}, so no TPM made it`);
  const type = reader.u16();
  const head: AttestHead = {
    qualifiedSigner: reader.tpm2b(MAX_NAME, 'qualifiedSigner'),
    extraData: reader.tpm2b(MAX_DATA, 'extraData'),
    clockInfo: readClockInfo(reader),
    firmwareVersion: reader.u64(),
  };
  const attest = readAttested(reader, type, head);
  reader.end();
  return attest;
}

export function serializeAttest(attest: Attest): Uint8Array {
  const { clockInfo } = attest;
  const writer = new TpmWriter()
    .u32(TPM_GENERATED_VALUE)
    .u16(TYPES[attest.type])
    .tpm2b(attest.qualifiedSigner)
    .tpm2b(attest.extraData)
    .u64(clockInfo.clock)
    .u32(clockInfo.resetCount)
    .u32(clockInfo.restartCount)
    .u8(clockInfo.safe ? 1 : 0)
    .u64(attest.firmwareVersion);
  switch (attest.type) {
    case 'certify':
      return writer.tpm2b(attest.name).tpm2b(attest.qualifiedName).toOctets();
    case 'quote':
      return writer.octets(serializePcrSelection(attest.pcrSelection)).tpm2b(attest.pcrDigest).toOctets();
    case 'creation':
      return writer.tpm2b(attest.objectName).tpm2b(attest.creationHash).toOctets();
    case 'nv':
      return writer.tpm2b(attest.indexName).u16(attest.offset).tpm2b(attest.nvContents).toOctets();
    case 'command-audit':
      return writer
        .u64(attest.auditCounter)
        .u16(attest.digestAlg)
        .tpm2b(attest.auditDigest)
        .tpm2b(attest.commandDigest)
        .toOctets();
  }
}

function readClockInfo(reader: TpmReader): ClockInfo {
  const clock = reader.u64();
  const resetCount = reader.u32();
  const restartCount = reader.u32();
  const safe = reader.u8();
  if (safe > 1) reader.fail(`clockInfo.safe is ${safe}, neither YES nor NO`);
  return { clock, resetCount, restartCount, safe: safe === 1 };
}

function readAttested(reader: TpmReader, type: number, head: AttestHead): Attest {
  switch (type) {
    case TYPES.certify: {
      const name = reader.tpm2b(MAX_NAME, 'attested.certify.name');
      return {
        type: 'certify',
        ...head,
        name,
        qualifiedName: reader.tpm2b(MAX_NAME, 'attested.certify.qualifiedName'),
      };
    }
    case TYPES.quote: {
      const pcrSelection = readPcrSelection(reader);
      return {
        type: 'quote',
        ...head,
        pcrSelection,
        pcrDigest: reader.tpm2b(64, 'attested.quote.pcrDigest'),
      };
    }
    case TYPES.creation: {
      const objectName = reader.tpm2b(MAX_NAME, 'attested.creation.objectName');
      return {
        type: 'creation',
        ...head,
        objectName,
        creationHash: reader.tpm2b(64, 'attested.creation.creationHash'),
      };
    }
    case TYPES.nv: {
      const indexName = reader.tpm2b(MAX_NAME, 'attested.nv.indexName');
      const offset = reader.u16();
      return {
        type: 'nv',
        ...head,
        indexName,
        offset,
        nvContents: reader.tpm2b(MAX_NV, 'attested.nv.nvContents'),
      };
    }
    case TYPES['command-audit']: {
      const auditCounter = reader.u64();
      const digestAlg = reader.u16();
      const auditDigest = reader.tpm2b(64, 'attested.commandAudit.auditDigest');
      return {
        type: 'command-audit',
        ...head,
        auditCounter,
        digestAlg,
        auditDigest,
        commandDigest: reader.tpm2b(64, 'attested.commandAudit.commandDigest'),
      };
    }
    default:
      return reader.fail(`the type ${hex(type)} is none of certify, quote, creation, NV, command audit`);
  }
}
