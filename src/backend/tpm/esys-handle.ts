/** Handles and sessions of an ESYS connection. */

/** What a handle refers to: transient objects and sessions are flushed, the others are only closed. */
export type HandleKind = 'permanent' | 'pcr' | 'transient' | 'persistent' | 'nv' | 'session';

/**
 * A resource of one connection. It is void after `reopen` and after the command that ends it; a
 * command given a void handle rejects with `TSS2_ESYS_RC_BAD_TR` (0x70018).
 */
export class EsysHandle {
  readonly kind: HandleKind;
  /** Number by which the addon knows it; never reused within a connection. */
  readonly id: number;

  constructor(id: number, kind: HandleKind) {
    this.id = id;
    this.kind = kind;
  }
}

/** The permanent handles (TPM_RH). They belong to every connection and stay valid. */
export const PERMANENT = {
  owner: new EsysHandle(0x101, 'permanent'),
  null: new EsysHandle(0x107, 'permanent'),
  lockout: new EsysHandle(0x10a, 'permanent'),
  endorsement: new EsysHandle(0x10b, 'permanent'),
  platform: new EsysHandle(0x10c, 'permanent'),
} as const;

/** PCR `index`, 0 to 23 on a PC. */
export function pcrHandle(index: number): EsysHandle {
  if (!Number.isInteger(index) || index < 0 || index > 31) throw new RangeError(`there is no PCR ${index}`);
  return new EsysHandle(index, 'pcr');
}

/** TPMA_SESSION (TPM 2.0 Part 2, 8.4) for one use of a session; what is absent is clear. */
export interface SessionAttributes {
  /** The session lives on after the command. */
  readonly continueSession?: boolean;
  readonly auditExclusive?: boolean;
  readonly audit?: boolean;
  /** The first command parameter is encrypted on its way to the TPM. */
  readonly decrypt?: boolean;
  /** The first response parameter is encrypted on its way back. */
  readonly encrypt?: boolean;
}

/** A session for one command; without `attributes` those it already has stay. */
export interface SessionUse {
  readonly session: EsysHandle;
  readonly attributes?: SessionAttributes;
}

/**
 * Sessions in ESYS order (shandle1 to 3), those that authorise first. Where one is left out, an
 * authorisation uses the handle's password (`setAuth`), and a further place stays empty.
 */
export interface WithSessions {
  readonly sessions?: readonly (SessionUse | undefined)[];
}
