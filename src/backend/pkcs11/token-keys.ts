/** Our key objects on the connected token. Runs in the module host; every call is one leased session. */
import type { HardwareKey } from '../backend.ts';
import type { Algorithm } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';
import { CKA, CKO, CKR } from './constants.ts';
import { CryptokiError, type Handle } from './cryptoki.ts';
import { keyIdFromOctets, keyIdToOctets, parseKeyLabel, type KeyLabel } from './key-label.ts';
import {
  decodePublicKey,
  idTemplate,
  judgeProtection,
  mechanismEntry,
  privateKeyTemplate,
  PROTECTION_ATTRIBUTES,
  publicKeyTemplate,
  readUlong,
} from './mechanisms.ts';
import type { GenerateCommand, GeneratedKey } from './module-host-messages.ts';
import { recoveryOf } from './return-value.ts';
import type { TokenConnection } from './token-connection.ts';

/** RSA-4096, and room. */
const MAX_SIGNATURE_OCTETS = 1024;

type Attributes = Record<string, boolean>;

interface KeyObject {
  readonly handle: Handle;
  readonly objectClass: number;
}

interface OurObject extends KeyObject {
  readonly label: KeyLabel;
}

/** A template attribute that the module does not know or allow. */
const TEMPLATE_REFUSALS: ReadonlySet<number> = new Set([
  CKR.attributeReadOnly,
  CKR.attributeTypeInvalid,
  CKR.attributeValueInvalid,
  CKR.templateInconsistent,
]);
/** The curve in a spelling that the module does not know. */
const CURVE_REFUSALS: ReadonlySet<number> = new Set([
  CKR.attributeValueInvalid,
  CKR.curveNotSupported,
  CKR.domainParamsInvalid,
  CKR.functionFailed,
  CKR.generalError,
]);

export class TokenKeys {
  readonly #connection: TokenConnection;
  // Private key handles by the 16 octets of the key id, as latin1.
  readonly #handles = new Map<string, Handle>();
  #handleGeneration = -1;
  readonly #output = Buffer.alloc(MAX_SIGNATURE_OCTETS);

  constructor(connection: TokenConnection) {
    this.#connection = connection;
  }

  /** Signs; the answer is a view that is good until the next call. @throws KeydError `key_not_found`; CryptokiError */
  sign(keyId: Buffer, algorithm: Algorithm, data: Buffer): Buffer {
    const { sign: mechanism } = mechanismEntry(algorithm);
    const { cryptoki } = this.#connection;
    const cached = this.#cachedHandle(keyId);
    if (cached !== undefined) {
      try {
        return this.#connection.use((session) =>
          cryptoki.sign(session, mechanism, cached, data, this.#output),
        );
      } catch (thrown) {
        if (!(thrown instanceof CryptokiError) || recoveryOf(thrown.rv) !== 'look-again') throw thrown;
        this.#handles.delete(cacheKey(keyId));
      }
    }
    const handle = this.#connection.use((session) => this.#requirePrivate(session, keyId));
    this.remember(keyId, handle);
    return this.#connection.use((session) => cryptoki.sign(session, mechanism, handle, data, this.#output));
  }

  /** The key, if both its objects are here. */
  find(keyId: Buffer): HardwareKey | undefined {
    return this.#connection.use((session) => {
      const ours = this.#ours(session, keyId);
      const privateKey = ours.find(({ objectClass }) => objectClass === CKO.privateKey);
      const publicKey = ours.find(({ objectClass }) => objectClass === CKO.publicKey);
      if (privateKey === undefined || publicKey === undefined) {
        this.#connection.assertPresent(session);
        return undefined;
      }
      this.remember(keyId, privateKey.handle);
      return this.#readKey(session, publicKey.handle, publicKey.label);
    });
  }

  /**
   * Generates a key pair on the token and reads its protection back; a key that could leave is destroyed.
   * @throws KeydError `conflict`, `key_exportable`; CryptokiError
   */
  generate(command: GenerateCommand): GeneratedKey {
    const keyId = keyIdToOctets(command.keyId);
    return this.#connection.use((session) => {
      if (this.#objects(session, keyId).length > 0) {
        throw new KeydError('conflict', `The token holds an object with the id ${command.keyId} already`);
      }
      const { publicKey, privateKey } = this.#generatePair(session, command);
      try {
        const attributes = this.#protection(session, privateKey);
        if (judgeProtection(attributes).exportable) {
          const shown = Object.entries(attributes).map(([name, value]) => `${name}=${String(value)}`);
          throw new KeydError(
            'key_exportable',
            `The token made a key that can leave it (${shown.join(' ')})`,
          );
        }
        const key = this.#readKey(session, publicKey, command);
        this.remember(keyId, privateKey);
        return { key, attributes };
      } catch (thrown) {
        this.#connection.cryptoki.destroyObject(session, privateKey);
        this.#connection.cryptoki.destroyObject(session, publicKey);
        throw thrown;
      }
    });
  }

  /** Reads the attributes that keep the private key where it is. @throws KeydError `key_not_found` */
  protection(keyId: Buffer): Attributes {
    return this.#connection.use((session) => this.#protection(session, this.#requirePrivate(session, keyId)));
  }

  /** Destroys the private object first: if the second call fails, nothing that signs is left. Idempotent. */
  destroy(keyId: Buffer): void {
    const { cryptoki } = this.#connection;
    this.#handles.delete(cacheKey(keyId));
    this.#connection.use((session) => {
      const ours = this.#ours(session, keyId);
      for (const kind of [CKO.privateKey, CKO.publicKey]) {
        for (const { handle, objectClass } of ours) {
          if (objectClass === kind) cryptoki.destroyObject(session, handle);
        }
      }
      if (ours.length > 0 && this.#ours(session, keyId).length > 0) {
        throw new KeydError('backend_unavailable', 'The token still shows a key that it was told to destroy');
      }
      this.#connection.assertPresent(session);
    });
  }

  /** The label of an object, if it is one of ours. */
  label(session: Handle, object: Handle): KeyLabel | undefined {
    const [id, text] = this.#connection.cryptoki.attributes(session, object, [CKA.id, CKA.label]);
    const keyId = id === undefined ? undefined : keyIdFromOctets(id);
    if (keyId === undefined || text === undefined) return undefined;
    return parseKeyLabel(text.toString('utf8'), keyId);
  }

  /** The key whose public object this is. @throws KeydError `malformed_structure` */
  readPublicKey(session: Handle, object: Handle, label: KeyLabel): HardwareKey {
    return this.#readKey(session, object, label);
  }

  #generatePair(session: Handle, command: GenerateCommand): { publicKey: Handle; privateKey: Handle } {
    const { generate, ecParams } = mechanismEntry(command.algorithm);
    const curves: readonly (Buffer | undefined)[] = ecParams.length === 0 ? [undefined] : ecParams;
    const attempts = [true, false].flatMap((hardened) => curves.map((curve) => ({ hardened, curve })));
    let refusal: unknown;
    for (const { hardened, curve } of attempts) {
      const publicTemplate = publicKeyTemplate(command, curve, command.rsaModulusBits);
      const privateTemplate = privateKeyTemplate(command, hardened);
      try {
        return this.#connection.cryptoki.generateKeyPair(session, generate, publicTemplate, privateTemplate);
      } catch (thrown) {
        if (!(thrown instanceof CryptokiError)) throw thrown;
        const spelling =
          TEMPLATE_REFUSALS.has(thrown.rv) || (curves.length > 1 && CURVE_REFUSALS.has(thrown.rv));
        if (!spelling) throw thrown;
        refusal ??= thrown;
      }
    }
    throw refusal;
  }

  #readKey(session: Handle, object: Handle, label: KeyLabel): HardwareKey {
    const { publicAttributes } = mechanismEntry(label.algorithm);
    const values = this.#connection.cryptoki.attributes(session, object, publicAttributes);
    return {
      keyId: label.keyId,
      purpose: label.purpose,
      algorithm: label.algorithm,
      publicJwk: decodePublicKey(label.algorithm, values),
    };
  }

  #protection(session: Handle, privateKey: Handle): Attributes {
    const attributes: Attributes = {};
    for (const [name, type] of Object.entries(PROTECTION_ATTRIBUTES)) {
      try {
        const [value] = this.#connection.cryptoki.attributes(session, privateKey, [type]);
        if (value?.length === 1) attributes[name] = value[0] !== 0;
      } catch (thrown) {
        // Older modules do not know every attribute; the judgement counts what is missing.
        if (!(thrown instanceof CryptokiError) || thrown.rv !== CKR.attributeTypeInvalid) throw thrown;
      }
    }
    return attributes;
  }

  #requirePrivate(session: Handle, keyId: Buffer): Handle {
    const found = this.#ours(session, keyId).find(({ objectClass }) => objectClass === CKO.privateKey);
    if (found !== undefined) return found.handle;
    this.#connection.assertPresent(session);
    throw new KeydError('key_not_found', `The token does not hold the key ${keyIdFromOctets(keyId) ?? ''}`);
  }

  #ours(session: Handle, keyId: Buffer): readonly OurObject[] {
    return this.#objects(session, keyId).flatMap(({ handle, objectClass }) => {
      const label = this.label(session, handle);
      return label === undefined ? [] : [{ handle, objectClass, label }];
    });
  }

  // One search for both classes: where a token holds thousands of objects, a search is what costs.
  #objects(session: Handle, keyId: Buffer): readonly KeyObject[] {
    const { cryptoki } = this.#connection;
    return cryptoki.findObjects(session, idTemplate(keyId)).flatMap((handle) => {
      const [value] = cryptoki.attributes(session, handle, [CKA.class]);
      const objectClass = value === undefined ? undefined : readUlong(value);
      return objectClass === CKO.privateKey || objectClass === CKO.publicKey ? [{ handle, objectClass }] : [];
    });
  }

  #cachedHandle(keyId: Buffer): Handle | undefined {
    if (this.#handleGeneration !== this.#connection.generation) return undefined;
    return this.#handles.get(cacheKey(keyId));
  }

  /** Keeps the handle of a private key for signing: the first, until the token says that it is stale. */
  remember(keyId: Buffer, handle: Handle): void {
    if (this.#handleGeneration !== this.#connection.generation) {
      this.#handles.clear();
      this.#handleGeneration = this.#connection.generation;
    }
    const key = cacheKey(keyId);
    if (!this.#handles.has(key)) this.#handles.set(key, handle);
  }
}

function cacheKey(keyId: Buffer): string {
  return keyId.toString('latin1');
}
