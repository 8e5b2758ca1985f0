/** Which hardware key serves which purpose, and the certificate of the X.509 CA. */
import type { CommitGroup } from '../../base/commit-group.ts';
import { parsePublicJwk, type PublicJwk } from '../../wire/jwk.ts';
import { integerOf, jsonOf, octetsOf, textOf } from './rows.ts';

export interface IssuerKeyRecord {
  readonly purpose: string;
  /** UUID in the backend. */
  readonly keyId: string;
  /** Undefined until the key has been made: the identifier is durable before the key exists. */
  readonly publicJwk: PublicJwk | undefined;
}

export interface CaCertificateRecord {
  readonly der: Uint8Array;
  readonly createdAtSeconds: number;
}

export class KeyStore {
  readonly #state: CommitGroup;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  find(purpose: string): Promise<IssuerKeyRecord | undefined> {
    return this.#state.read(() => {
      const row = this.#state.statement('SELECT * FROM issuer_keys WHERE purpose = ?').get(purpose);
      if (row === undefined) return undefined;
      return {
        purpose,
        keyId: textOf(row, 'key_id'),
        publicJwk: row['public_jwk'] === null ? undefined : parsePublicJwk(jsonOf(row, 'public_jwk')),
      };
    });
  }

  /** Names the key that is about to be made; an identifier that is there already stays. */
  reserve(purpose: string, keyId: string, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      this.#state
        .statement(
          'INSERT INTO issuer_keys (purpose, key_id, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
        )
        .run(purpose, keyId, nowSeconds);
    });
  }

  setPublicJwk(purpose: string, publicJwk: PublicJwk): Promise<void> {
    return this.#state.write(() => {
      this.#state
        .statement('UPDATE issuer_keys SET public_jwk = ? WHERE purpose = ? AND public_jwk IS NULL')
        .run(JSON.stringify(publicJwk), purpose);
    });
  }

  caCertificate(keyId: string): Promise<CaCertificateRecord | undefined> {
    return this.#state.read(() => {
      const row = this.#state.statement('SELECT * FROM ca_certificates WHERE key_id = ?').get(keyId);
      return row === undefined
        ? undefined
        : { der: octetsOf(row, 'der'), createdAtSeconds: integerOf(row, 'created_at') };
    });
  }

  addCaCertificate(keyId: string, der: Uint8Array, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      this.#state
        .statement('INSERT INTO ca_certificates (key_id, der, created_at) VALUES (?, ?, ?)')
        .run(keyId, der, nowSeconds);
    });
  }
}
