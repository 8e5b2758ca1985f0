/**
 * The only import of pkcs11js, and only inside the module host. Every call is the synchronous form: it pins
 * its buffers (the callback form does not and segfaults once an argument is collected), frees its templates
 * (the asynchronous one leaks them), and keeps C_SignInit and C_Sign together.
 */
import pkcs11js from 'pkcs11js';
import { CKF, CKU_USER } from './constants.ts';

/** A PKCS#11 function that did not return CKR_OK. */
export class CryptokiError extends Error {
  /** CK_RV; 0 where the binding itself refused. */
  readonly rv: number;
  /** The C function: `C_SignInit`. */
  readonly call: string;

  constructor(rv: number, call: string, message: string, cause: unknown) {
    super(`${call}: ${message}`, { cause });
    this.name = 'CryptokiError';
    this.rv = rv;
    this.call = call;
  }
}

/** CK_SESSION_HANDLE, CK_OBJECT_HANDLE or CK_SLOT_ID, in the machine's own representation. */
export type Handle = Buffer;

export type AttributeValue = boolean | number | string | Buffer;
export type Template = readonly { readonly type: number; readonly value: AttributeValue }[];

export interface Mechanism {
  readonly mechanism: number;
  /** CK_RSA_PKCS_PSS_PARAMS. */
  readonly pss?: { readonly hashAlg: number; readonly mgf: number; readonly saltLen: number };
}

/** CK_TOKEN_INFO and CK_INFO, padding removed. */
export interface RawTokenInfo {
  readonly label: string;
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly library: string;
  readonly flags: number;
}

const FIND_BATCH = 256;

/** A loaded PKCS#11 module. All methods throw CryptokiError. */
export class Cryptoki {
  readonly #module = new pkcs11js.PKCS11();

  /** dlopen and C_GetFunctionList. */
  load(path: string): void {
    this.#call('dlopen', () => {
      this.#module.load(path);
    });
  }

  initialize(): void {
    this.#call('C_Initialize', () => {
      this.#module.C_Initialize();
    });
  }

  finalize(): void {
    this.#call('C_Finalize', () => {
      this.#module.C_Finalize();
    });
  }

  /** Slots with a token present. C_GetSlotList. */
  slots(): readonly Handle[] {
    return this.#call('C_GetSlotList', () => this.#module.C_GetSlotList(true));
  }

  tokenInfo(slot: Handle): RawTokenInfo {
    const token = this.#call('C_GetTokenInfo', () => this.#module.C_GetTokenInfo(slot));
    const library = this.#call('C_GetInfo', () => this.#module.C_GetInfo());
    return {
      label: trim(token.label),
      manufacturer: trim(token.manufacturerID),
      model: trim(token.model),
      serial: trim(token.serialNumber),
      firmware: `${token.firmwareVersion.major}.${token.firmwareVersion.minor}`,
      library: `${trim(library.libraryDescription)} ${library.libraryVersion.major}.${library.libraryVersion.minor}`,
      flags: token.flags,
    };
  }

  mechanisms(slot: Handle): readonly number[] {
    return this.#call('C_GetMechanismList', () => this.#module.C_GetMechanismList(slot));
  }

  /** A read-write session. C_OpenSession. */
  openSession(slot: Handle): Handle {
    return this.#call('C_OpenSession', () =>
      this.#module.C_OpenSession(slot, CKF.serialSession | CKF.rwSession),
    );
  }

  closeSession(session: Handle): void {
    this.#call('C_CloseSession', () => {
      this.#module.C_CloseSession(session);
    });
  }

  /** CK_STATE of the session. C_GetSessionInfo. */
  sessionState(session: Handle): number {
    return this.#call('C_GetSessionInfo', () => this.#module.C_GetSessionInfo(session)).state;
  }

  /** C_Login as CKU_USER. `pin` is UTF-8; the binding takes a string, which stays until it is collected. */
  login(session: Handle, pin: Uint8Array): void {
    this.#call('C_Login', () => {
      this.#module.C_Login(session, CKU_USER, Buffer.from(pin.buffer, pin.byteOffset, pin.length).toString());
    });
  }

  generateKeyPair(
    session: Handle,
    mechanism: number,
    publicTemplate: Template,
    privateTemplate: Template,
  ): { readonly publicKey: Handle; readonly privateKey: Handle } {
    return this.#call('C_GenerateKeyPair', () =>
      this.#module.C_GenerateKeyPair(session, { mechanism }, [...publicTemplate], [...privateTemplate]),
    );
  }

  /** Every object that matches. C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal. */
  findObjects(session: Handle, template: Template): readonly Handle[] {
    this.#call('C_FindObjectsInit', () => {
      this.#module.C_FindObjectsInit(session, [...template]);
    });
    const found: Handle[] = [];
    for (;;) {
      const batch = this.#call('C_FindObjects', () => this.#module.C_FindObjects(session, FIND_BATCH));
      found.push(...batch);
      if (batch.length < FIND_BATCH) break;
    }
    this.#call('C_FindObjectsFinal', () => {
      this.#module.C_FindObjectsFinal(session);
    });
    return found;
  }

  /** Values in the order of `types`. C_GetAttributeValue. */
  attributes(session: Handle, object: Handle, types: readonly number[]): readonly Buffer[] {
    return this.#call('C_GetAttributeValue', () =>
      this.#module.C_GetAttributeValue(
        session,
        object,
        types.map((type) => ({ type })),
      ),
    ).map((attribute) => attribute.value);
  }

  /** C_SignInit and C_Sign. Returns a view on `output`, which must hold the longest signature. */
  sign(session: Handle, mechanism: Mechanism, key: Handle, data: Buffer, output: Buffer): Buffer {
    try {
      this.#module.C_SignInit(session, bindingMechanism(mechanism), key);
      return this.#module.C_Sign(session, data, output);
    } catch (thrown) {
      throw asCryptokiError('C_Sign', thrown);
    }
  }

  destroyObject(session: Handle, object: Handle): void {
    this.#call('C_DestroyObject', () => {
      this.#module.C_DestroyObject(session, object);
    });
  }

  #call<T>(call: string, work: () => T): T {
    try {
      return work();
    } catch (thrown) {
      throw asCryptokiError(call, thrown);
    }
  }
}

function bindingMechanism(mechanism: Mechanism): pkcs11js.Mechanism {
  if (mechanism.pss === undefined) return { mechanism: mechanism.mechanism };
  return {
    mechanism: mechanism.mechanism,
    parameter: { type: pkcs11js.CK_PARAMS_RSA_PSS, ...mechanism.pss },
  };
}

// The binding names a CK_RV as `CKR_X:<decimal>`, in most methods already split into properties.
const BINDING_MESSAGE = /(CKR_[A-Z_]+):(\d+)/;

function asCryptokiError(call: string, thrown: unknown): CryptokiError {
  if (!(thrown instanceof Error)) return new CryptokiError(0, call, String(thrown), thrown);
  const named = thrown as Error & { readonly code?: unknown; readonly method?: unknown };
  const method = typeof named.method === 'string' && named.method !== '' ? named.method : call;
  if (typeof named.code === 'number' && named.code > 0) {
    return new CryptokiError(named.code, method, thrown.message, thrown);
  }
  const [, name, rv] = BINDING_MESSAGE.exec(thrown.message) ?? [];
  return new CryptokiError(rv === undefined ? 0 : Number(rv), method, name ?? thrown.message, thrown);
}

function trim(padded: string): string {
  // Blank-padded by the standard; some modules pad with NUL.
  return padded.replace(/[\0 ]+$/, '');
}
