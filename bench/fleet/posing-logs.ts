/** Ledger and audit log of a host as its issuer sees them (check 26): a counter, and a Merkle log that grows. */
import { randomBytes } from 'node:crypto';
import { LogTree } from '../../src/audit/tree.ts';
import type { HostLogs } from '../../src/issuance/host-logs.ts';
import { anchorBound, type AnchoredHeads } from '../../src/wire/audit-anchor.ts';
import { encodeBase64url } from '../../src/wire/base64url.ts';
import type { LogEvidence } from '../../src/wire/issuance/log-evidence.ts';
import { consistencyProof, leafHash, type Hash } from '../../src/wire/merkle.ts';
import type { OpensslTpm } from './openssl-tpm.ts';

/** What an agent's renewal writes into the audit log at least. */
const ENTRIES_BETWEEN = 2;
const ENTRY_OCTETS = 64;

export class PosingLogs implements HostLogs {
  readonly #tpm: OpensslTpm;
  readonly #tree = new LogTree();
  readonly #leaves: Hash[] = [];
  readonly #ledgerHead = encodeBase64url(randomBytes(32));
  #epoch = 1n;

  constructor(tpm: OpensslTpm) {
    this.#tpm = tpm;
  }

  nvPublic(): Promise<Uint8Array> {
    return Promise.resolve(this.#tpm.counterPublic);
  }

  evidence(
    witness: AnchoredHeads | undefined,
    extraData: (bound: Uint8Array) => Uint8Array,
  ): Promise<LogEvidence> {
    this.#goOn();
    const head = {
      epoch: String(this.#epoch),
      ledgerHead: this.#ledgerHead,
      auditHead: encodeBase64url(this.#tree.root()),
      auditSize: this.#tree.size,
    };
    const statement = this.#tpm.certifyCounter(this.#epoch, extraData(anchorBound(head)));
    const subtree = this.#tree.subtree((from, to) => this.#leaves.slice(from, to));
    const consistency =
      witness === undefined ? [] : consistencyProof(witness.auditSize, this.#tree.size, subtree);
    return Promise.resolve({ auditCounter: { ...statement, head, consistency } });
  }

  seen(): void {
    // There is no second witness to tell.
  }

  #goOn(): void {
    this.#epoch += 1n;
    for (let entry = 0; entry < ENTRIES_BETWEEN; entry += 1) {
      const leaf = leafHash(randomBytes(ENTRY_OCTETS));
      this.#leaves.push(leaf);
      this.#tree.append(leaf);
    }
  }
}
