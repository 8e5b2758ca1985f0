/** The issuer's state. All SQL of the issuer is in this folder. */
import { join } from 'node:path';
import { CommitGroup } from '../../base/commit-group.ts';
import { openStateDatabase } from '../../base/sqlite.ts';
import { HostStore } from './host-store.ts';
import { IssuanceLog } from './issuance-log.ts';
import { KeyStore } from './key-store.ts';
import { NonceStore } from './nonce-store.ts';
import { MIGRATIONS } from './schema.ts';
import { StatusStore } from './status-store.ts';
import { WitnessStore } from './witness-store.ts';
import { SessionStore } from './session-store.ts';

export interface IssuerStore {
  readonly keys: KeyStore;
  readonly hosts: HostStore;
  readonly sessions: SessionStore;
  readonly nonces: NonceStore;
  readonly issuances: IssuanceLog;
  readonly statuses: StatusStore;
  readonly witnesses: WitnessStore;
  /** Rejects where the state can not be read. */
  check(): Promise<void>;
  /** Makes durable what is written, and closes. */
  close(): void;
}

/** Opens `issuer.db` in the state directory. @throws KeydError `state_newer` */
export function openIssuerStore(stateDirectory: string): IssuerStore {
  const state = new CommitGroup(
    openStateDatabase({ path: join(stateDirectory, 'issuer.db'), migrations: MIGRATIONS }),
  );
  return {
    keys: new KeyStore(state),
    hosts: new HostStore(state),
    sessions: new SessionStore(state),
    nonces: new NonceStore(state),
    issuances: new IssuanceLog(state),
    statuses: new StatusStore(state),
    witnesses: new WitnessStore(state),
    check: () =>
      state.read(() => {
        state.statement('SELECT count(*) FROM issuer_keys').get();
      }),
    close: () => {
      state.close();
    },
  };
}
