/**
 * TSS2 response codes: what they mean here (KeydError), and what may be done about them before a
 * caller hears of it. Layers: TSS 2.0 Overview §4; TPM codes: TPM 2.0 Part 2 §6.6.
 */
import { KeydError, type ErrorCode } from '../../wire/problem.ts';
import { TssFault } from './esys.ts';

/**
 * What can mend a fault:
 * - `reopen`: the connection, or what was loaded over it, is gone; connect anew and load again.
 * - `make-room`: flush our objects and sessions, then again.
 * - `new-sessions`: our sessions are the fault or may be; end them, then again.
 * - `again`: the TPM asks for it.
 */
export type Recovery = 'reopen' | 'make-room' | 'new-sessions' | 'again';

interface Meaning {
  readonly code: ErrorCode;
  /** What happened and what the person can do. */
  readonly text: string;
  readonly recovery?: Recovery;
}

/** Bits of a TSS2 response code that say who made it. */
const LAYER_MASK = 0xffff_0000;
const LAYERS: Readonly<Record<number, string>> = {
  0x00000000: 'tpm',
  0x00060000: 'fapi',
  0x00070000: 'esys',
  0x00080000: 'sys',
  0x00090000: 'mu',
  0x000a0000: 'tcti',
  0x000b0000: 'resource manager',
  0x000c0000: 'resource manager',
};

/** Format-zero codes and warnings: no handle, parameter or session number. */
const PLAIN: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [0x100, { code: 'tpm_unavailable', text: 'The TPM was not started', recovery: 'reopen' }],
  [0x128, { code: 'tpm_pcr_changed', text: 'A PCR was extended meanwhile; try again', recovery: 'again' }],
  [
    0x901,
    {
      code: 'tpm_session_gap',
      text: 'A session that another program left saved blocks the session counter; end that program or flush its sessions (tpm2_flushcontext -s)',
      recovery: 'new-sessions',
    },
  ],
  [
    0x902,
    {
      code: 'tpm_object_memory',
      text: 'Other programs hold every object slot of the TPM; use /dev/tpmrm0, or flush them (tpm2_flushcontext -t)',
      recovery: 'make-room',
    },
  ],
  [
    0x903,
    {
      code: 'tpm_session_memory',
      text: 'Other programs hold every session slot of the TPM; use /dev/tpmrm0, or flush them (tpm2_flushcontext -l)',
      recovery: 'make-room',
    },
  ],
  [
    0x905,
    {
      code: 'tpm_session_memory',
      text: 'Every session handle of the TPM is taken; flush what other programs left (tpm2_flushcontext -s)',
      recovery: 'make-room',
    },
  ],
  [
    0x14b,
    {
      code: 'tpm_unavailable',
      text: 'The TPM has no room for another NV index; remove one that nobody uses (tpm2_getcap handles-nv-index, tpm2_nvundefine)',
    },
  ],
  // Never retried: an attempt in lockout can only make it longer.
  [
    0x921,
    {
      code: 'tpm_lockout',
      text: 'The TPM is in dictionary-attack lockout; wait for its recovery time, or tpm2_dictionarylockout --clear-lockout with the lockout auth',
    },
  ],
  [0x922, { code: 'tpm_retry', text: 'The TPM is busy; try again', recovery: 'again' }],
  [0x908, { code: 'tpm_retry', text: 'The TPM is busy with its own affairs; try again', recovery: 'again' }],
  [0x909, { code: 'tpm_retry', text: 'The TPM gave up the command; try again', recovery: 'again' }],
  [0x90a, { code: 'tpm_retry', text: 'The TPM is testing an algorithm; try again', recovery: 'again' }],
  [0x920, { code: 'tpm_retry', text: 'The TPM’s NV is written too often; try again later' }],
  [0x923, { code: 'tpm_retry', text: 'The TPM’s NV can not be written now; try again later' }],
]);

/** Format-one codes, without the number that they carry. */
const FORMAT_ONE: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [0x08b, { code: 'tpm_reset', text: 'The TPM no longer knows what was loaded', recovery: 'reopen' }],
  [
    0x08e,
    {
      code: 'tpm_auth_failed',
      text: 'The TPM refused an auth value and counts it towards lockout; was the daemon’s secret changed?',
    },
  ],
  [
    0x0a2,
    { code: 'tpm_auth_failed', text: 'The TPM refused an auth value; was the daemon’s secret changed?' },
  ],
  [0x09f, { code: 'key_not_found', text: 'This TPM did not make the key' }],
  [0x092, { code: 'unsupported_algorithm', text: 'The TPM does not support the scheme' }],
  [0x082, { code: 'unsupported_algorithm', text: 'The TPM does not support this kind of key' }],
  [0x0a6, { code: 'unsupported_algorithm', text: 'The TPM does not support the curve' }],
]);

const GONE: Meaning = {
  code: 'tpm_reset',
  text: 'The TPM was reset or flushed meanwhile',
  recovery: 'reopen',
};
const NOT_OURS: Meaning = { code: 'key_not_found', text: 'The credential was made for another AK or EK' };
const UNREACHABLE: Meaning = {
  code: 'tpm_unavailable',
  text: 'The TPM can not be reached; is it there, and may this user open it (group tss)?',
  recovery: 'reopen',
};

/** What `thrown` can be mended by; undefined where trying again would not help or could harm. */
export function recoveryOf(thrown: unknown): Recovery | undefined {
  return thrown instanceof TssFault ? meaningOf(thrown)?.recovery : undefined;
}

/** A fault of the TPM as the error that crosses rooms; anything else as it is. */
export function tpmError(thrown: unknown): unknown {
  if (!(thrown instanceof TssFault)) return thrown;
  const meaning = meaningOf(thrown);
  const detail = describeResponseCode(thrown.rc);
  if (meaning === undefined) {
    return new KeydError('tpm_unavailable', `${thrown.call} failed: ${detail}`, { cause: thrown });
  }
  return new KeydError(meaning.code, `${meaning.text} (${thrown.call}: ${detail})`, { cause: thrown });
}

/** `tpm:session(1) 0x9a2` */
export function describeResponseCode(rc: number): string {
  const layer = LAYERS[(rc & LAYER_MASK) >>> 0] ?? 'unknown layer';
  const subject = formatOneSubject(rc);
  return `${layer}${subject === undefined ? '' : `:${subject}`} 0x${rc.toString(16)}`;
}

/** Whether the TPM itself answered so, none of the layers before it (TSS 2.0 Overview §4). */
export function isTpmsOwn(rc: number): boolean {
  return (rc & LAYER_MASK) === 0;
}

/** Whether this is the TPM's answer (or the resource manager's) `code`, for whichever handle or parameter. */
export function isTpmCode(thrown: unknown, code: number): boolean {
  return thrown instanceof TssFault && fromTpm(thrown.rc) && baseCode(thrown.rc) === code;
}

function meaningOf({ rc, call }: TssFault): Meaning | undefined {
  const layer = (rc & LAYER_MASK) >>> 0;
  if (layer === 0x000a0000) return UNREACHABLE;
  // The context refuses everything after a fault below it (BAD_SEQUENCE), and void handles (BAD_TR) after a reopen.
  if (!fromTpm(rc)) return layer === 0x00070000 || layer === 0x00080000 ? GONE : undefined;
  const code = baseCode(rc);
  // References to handles and sessions that are not loaded: TPM_RC_REFERENCE_H0 to _H6 and _S0 to _S6.
  if ((code >= 0x910 && code <= 0x916) || (code >= 0x918 && code <= 0x91e)) return GONE;
  const numbered = (rc & 0x80) !== 0;
  // A saved context from before a reset, clear or another TPM.
  if (numbered && call === 'Esys_ContextLoad') return GONE;
  if (numbered && call === 'Esys_ActivateCredential' && (rc & 0x40) !== 0) return NOT_OURS;
  return numbered ? FORMAT_ONE.get(code) : PLAIN.get(code);
}

function fromTpm(rc: number): boolean {
  const layer = (rc & LAYER_MASK) >>> 0;
  return layer === 0 || layer === 0x000b0000 || layer === 0x000c0000;
}

/** Without layer, and in format one without handle, parameter or session number (Part 2 §6.6.2). */
function baseCode(rc: number): number {
  return (rc & 0x80) === 0 ? rc & 0xfff : rc & 0x0bf;
}

function formatOneSubject(rc: number): string | undefined {
  if (!fromTpm(rc) || (rc & 0x80) === 0) return undefined;
  const number = (rc >> 8) & 0xf;
  if ((rc & 0x40) !== 0) return `parameter(${number})`;
  return number >= 8 ? `session(${number - 8})` : `handle(${number})`;
}
