/** A host's logs as its issuer sees them, over a real TPM: a counter, a Merkle log, and heads that tests can spoil. */
import { createHash } from 'node:crypto';
import type { AnchoredHeads } from '../../src/wire/audit-anchor.ts';
import { anchorBound } from '../../src/wire/audit-anchor.ts';
import { encodeBase64url } from '../../src/wire/base64url.ts';
import type { AuditCounter } from '../../src/wire/issuance/log-evidence.ts';
import { consistencyProof, leafHash, MerkleFrontier, type Hash } from '../../src/wire/merkle.ts';
import { auditCounterPublic } from '../../src/wire/tpm/audit-counter.ts';
import { serializeNvPublic } from '../../src/wire/tpm/nv-public.ts';
import type { AttestedHost, HostKey } from './attested-host.ts';

export interface EvidenceOptions {
  /** Index that is certified instead. */
  readonly nvIndex?: number;
  /** What is shown instead of the head that is certified. */
  readonly shown?: Partial<AnchoredHeads>;
  /** Heads that are both certified and shown. */
  readonly head?: Partial<AnchoredHeads>;
}

export class HostLogs {
  readonly #host: AttestedHost;
  readonly #ak: HostKey;
  readonly nvIndex: number;
  #leaves: Hash[] = [];

  constructor(host: AttestedHost, ak: HostKey, nvIndex: number) {
    this.#host = host;
    this.#ak = ak;
    this.nvIndex = nvIndex;
  }

  /** As M3 has it. */
  get nvPublic(): Uint8Array {
    return serializeNvPublic(auditCounterPublic(this.nvIndex, true));
  }

  append(...entries: readonly string[]): void {
    this.#leaves.push(...entries.map((entry) => leafHash(Buffer.from(entry))));
  }

  /** Puts an older log in place of this one. */
  cutTo(size: number): void {
    this.#leaves = this.#leaves.slice(0, size);
  }

  head(epoch: bigint, size = this.#leaves.length): AnchoredHeads {
    return {
      epoch: String(epoch),
      ledgerHead: encodeBase64url(createHash('sha256').update(String(epoch)).digest()),
      auditHead: encodeBase64url(this.#subtree(0, size)),
      auditSize: size,
    };
  }

  consistency(from: number): readonly Hash[] {
    return consistencyProof(from, this.#leaves.length, (first, last) => this.#subtree(first, last));
  }

  /** NV_Certify over the present heads. @param extraData of these octets */
  async evidence(
    witness: AnchoredHeads | undefined,
    extraData: (bound: Uint8Array) => Uint8Array,
    options: EvidenceOptions = {},
  ): Promise<AuditCounter> {
    const value = await this.#host.counter(this.nvIndex);
    const head = { ...this.head(value), ...options.head };
    const nvIndex = options.nvIndex ?? this.nvIndex;
    const made = await this.#host.certifyCounter(this.#ak, nvIndex, extraData(anchorBound(head)));
    return {
      ...made,
      head: { ...head, ...options.shown },
      consistency: witness === undefined ? [] : this.consistency(witness.auditSize),
    };
  }

  #subtree(from: number, to: number): Hash {
    const tree = new MerkleFrontier();
    for (const leaf of this.#leaves.slice(from, to)) tree.append(leaf);
    return tree.root();
  }
}
