/**
 * A host with a real swtpm whose TPM does what the test says, also what an attacker would: it makes any key, signs
 * with any key, certifies, quotes, activates, reboots, is cleared. It holds no policy of its own.
 */
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EsysConnection, pcrHandle, PERMANENT, type EsysHandle } from '../../src/backend/tpm/esys.ts';
import type { Credential } from '../../src/issuer/verifier/make-credential.ts';
import type {
  CertifiedKeyEvidence,
  QuoteEvidence,
  SignedAttestJson,
} from '../../src/wire/issuance/evidence.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { TPM_ALG } from '../../src/wire/tpm/constants.ts';
import { auditCounterPublic, COUNTER_OCTETS } from '../../src/wire/tpm/audit-counter.ts';
import { parseNvPublic, serializeNvPublic, type NvPublic } from '../../src/wire/tpm/nv-public.ts';
import { serializePcrSelection, type PcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import {
  akTemplate,
  EK_TEMPLATES,
  ekTemplate,
  signingKeyTemplate,
  srkTemplate,
  type EkTemplateName,
} from '../../src/wire/tpm/templates.ts';
import { startSwtpm, type TestSwtpm } from './swtpm.ts';

/** A key by the way it is brought into the TPM; primaries are made again, children loaded from their blob. */
export interface HostKey {
  /** TPMT_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly load: () => Promise<EsysHandle>;
}

export type HierarchyName = 'owner' | 'endorsement' | 'null' | 'platform';

const MAX_NV_READ = 1024;
const PCRS_PER_READ = 8;

export class AttestedHost {
  readonly tpm: TestSwtpm;
  readonly ekTemplate: EkTemplateName;
  readonly ekPublic: Uint8Array;
  /** As read from NV. */
  readonly ekCertificate: Uint8Array;
  readonly #esys: EsysConnection;
  readonly #counters = new Set<number>();

  private constructor(
    tpm: TestSwtpm,
    esys: EsysConnection,
    ek: {
      readonly template: EkTemplateName;
      readonly publicArea: Uint8Array;
      readonly certificate: Uint8Array;
    },
  ) {
    this.tpm = tpm;
    this.#esys = esys;
    this.ekTemplate = ek.template;
    this.ekPublic = ek.publicArea;
    this.ekCertificate = ek.certificate;
  }

  /** @param options `template`: which of the EKs the host speaks for; `unique`: seeds and CA of its own */
  static async start(
    options: { readonly template?: EkTemplateName; readonly unique?: boolean } = {},
  ): Promise<AttestedHost> {
    const template = options.template ?? 'L-2';
    const tpm = await startSwtpm({ withEkCertificates: true, unique: options.unique ?? false });
    const esys = await EsysConnection.open(tpm.tcti);
    try {
      const ek = await esys.createPrimary({ parent: PERMANENT.endorsement, inPublic: ekTemplate(template) });
      await esys.flushContext(ek.handle);
      const certificate = await readNv(esys, EK_TEMPLATES[template].certificateIndex);
      return new AttestedHost(tpm, esys, { template, publicArea: ek.outPublic, certificate });
    } catch (thrown) {
      await esys.close();
      await tpm.stop();
      throw thrown;
    }
  }

  /** DER of the test CA: root and the CA below it. */
  async testCa(): Promise<{ readonly root: Uint8Array; readonly issuer: Uint8Array }> {
    const [root, issuer] = await Promise.all([readFile(this.tpm.caFile), readFile(this.tpm.issuerFile)]);
    return { root: new X509Certificate(root).raw, issuer: new X509Certificate(issuer).raw };
  }

  /** An honest AK: restricted primary of the endorsement hierarchy. */
  createAk(unique: Uint8Array = randomBytes(32)): Promise<HostKey> {
    return this.createPrimary('endorsement', akTemplate(unique));
  }

  /** An honest agent key. */
  createAgentKey(): Promise<HostKey> {
    return this.createChild(signingKeyTemplate('ES256'));
  }

  async createPrimary(hierarchy: HierarchyName, inPublic: Uint8Array): Promise<HostKey> {
    const make = () => this.#esys.createPrimary({ parent: PERMANENT[hierarchy], inPublic });
    const { handle, outPublic } = await make();
    await this.#esys.flushContext(handle);
    return { publicArea: new Uint8Array(outPublic), load: async () => (await make()).handle };
  }

  /** A key below the SRK, from any template. */
  async createChild(inPublic: Uint8Array): Promise<HostKey> {
    const created = await this.#withSrk((parent) => this.#esys.create({ parent, inPublic }));
    const publicArea = new Uint8Array(created.outPublic);
    const load = () =>
      this.#withSrk((parent) =>
        this.#esys.load({ parent, inPublic: publicArea, inPrivate: created.outPrivate }),
      );
    return { publicArea, load };
  }

  /** TPM2_ActivateCredential by the host's EK. */
  activate(ak: HostKey, credential: Credential): Promise<Uint8Array> {
    return this.#loaded([ak], async ([activateHandle]) => {
      const key = await this.#loadEk();
      const session = await this.#esys.startAuthSession({
        type: 'policy',
        symmetric: 'none',
        authHash: TPM_ALG.SHA256,
      });
      try {
        if (!EK_TEMPLATES[this.ekTemplate].userWithAuth) {
          await this.#esys.policySecret({ auth: PERMANENT.endorsement, policySession: session });
        }
        const attributes = { continueSession: true };
        const use = EK_TEMPLATES[this.ekTemplate].userWithAuth ? undefined : { session, attributes };
        return await this.#esys.activateCredential({
          activateHandle,
          key,
          credentialBlob: credential.idObject,
          secret: credential.encSecret,
          sessions: [undefined, use],
        });
      } finally {
        await this.#esys.flushContext(session);
        await this.#esys.flushContext(key);
      }
    });
  }

  async certify(ak: HostKey, key: HostKey, qualifyingData: Uint8Array): Promise<CertifiedKeyEvidence> {
    const made = await this.#loaded([ak, key], ([signer, object]) =>
      this.#esys.certify({ signer, object, qualifyingData }),
    );
    return { public: key.publicArea, certify: toJsonForm(made) };
  }

  async quote(ak: HostKey, selection: PcrSelection, qualifyingData: Uint8Array): Promise<QuoteEvidence> {
    const pcrSelect = serializePcrSelection(selection);
    const made = await this.#loaded([ak], ([signer]) =>
      this.#esys.quote({ signer, pcrSelect, qualifyingData }),
    );
    return { ...toJsonForm(made), pcrs: await this.readPcrs(selection) };
  }

  /** TPM2_CertifyCreation of a new key: a statement of another type by the same AK. */
  certifyCreation(ak: HostKey, qualifyingData: Uint8Array): Promise<SignedAttestJson> {
    return this.#loaded([ak], async ([signer]) => {
      const made = await this.#esys.createPrimary({
        parent: PERMANENT.owner,
        inPublic: signingKeyTemplate('ES256'),
      });
      const { handle: object, creationHash, creationTicket } = made;
      const statement = { signer, object, creationHash, creationTicket, qualifyingData };
      const attested = await this.#esys.certifyCreation(statement);
      await this.#esys.flushContext(object);
      return toJsonForm(attested);
    });
  }

  /** TPM2_Sign over a digest that the caller chose; a restricted key refuses. */
  sign(key: HostKey, digest: Uint8Array): Promise<Uint8Array> {
    return this.#loaded([key], ([handle]) => this.#esys.sign({ key: handle, digest }));
  }

  /** TPM2_Hash, then TPM2_Sign with its ticket: how a restricted key signs what is no TPM statement. */
  signHashed(key: HostKey, data: Uint8Array): Promise<Uint8Array> {
    return this.#loaded([key], async ([handle]) => {
      const hashAlg = TPM_ALG.SHA256;
      const hashed = await this.#esys.hash({ data, hashAlg, hierarchy: PERMANENT.endorsement });
      return this.#esys.sign({ key: handle, digest: hashed.digest, validation: hashed.validation });
    });
  }

  /** A counter with an empty auth value, defined where it is not there, and one up. */
  async countUp(index: number, nv: NvPublic = auditCounterPublic(index, false)): Promise<bigint> {
    if (!this.#counters.has(index)) {
      const defined = await this.#esys.nvDefineSpace({
        auth: PERMANENT.owner,
        publicInfo: serializeNvPublic(nv),
      });
      await this.#esys.closeHandle(defined);
      this.#counters.add(index);
    }
    await this.#withIndex(index, (nvIndex) => this.#esys.nvIncrement({ auth: nvIndex, nvIndex }));
    return this.counter(index);
  }

  async removeCounter(index: number): Promise<void> {
    const nvIndex = await this.#esys.fromTpmHandle({ tpmHandle: index });
    await this.#esys.nvUndefineSpace({ auth: PERMANENT.owner, nvIndex });
    this.#counters.delete(index);
  }

  async counter(index: number): Promise<bigint> {
    const contents = await this.#withIndex(index, (nvIndex) =>
      this.#esys.nvRead({ auth: nvIndex, nvIndex, size: COUNTER_OCTETS, offset: 0 }),
    );
    return contents.readBigUInt64BE();
  }

  certifyCounter(ak: HostKey, index: number, qualifyingData: Uint8Array): Promise<SignedAttestJson> {
    return this.#loaded([ak], ([signer]) =>
      this.#withIndex(index, async (nvIndex) =>
        toJsonForm(
          await this.#esys.nvCertify({
            signer,
            auth: nvIndex,
            nvIndex,
            qualifyingData,
            size: COUNTER_OCTETS,
            offset: 0,
          }),
        ),
      ),
    );
  }

  async #withIndex<T>(index: number, use: (nvIndex: EsysHandle) => Promise<T>): Promise<T> {
    const nvIndex = await this.#esys.fromTpmHandle({ tpmHandle: index });
    try {
      return await use(nvIndex);
    } finally {
      await this.#esys.closeHandle(nvIndex);
    }
  }

  async readPcrs(selection: PcrSelection): Promise<readonly Uint8Array[]> {
    const values: Uint8Array[] = [];
    for (const { bank, pcrs } of selection) {
      for (let from = 0; from < pcrs.length; from += PCRS_PER_READ) {
        const part = serializePcrSelection([{ bank, pcrs: pcrs.slice(from, from + PCRS_PER_READ) }]);
        values.push(...(await this.#esys.pcrRead(part)).values.map((value) => new Uint8Array(value)));
      }
    }
    return values;
  }

  async extendPcr(index: number, event: string): Promise<void> {
    const digest = createHash('sha256').update(event).digest();
    const digests = new TpmWriter().u32(1).hash('sha256').octets(digest).toOctets();
    await this.#esys.pcrExtend({ pcr: pcrHandle(index), digests });
  }

  /** TPM Reset; without an orderly shutdown the clock is then not `safe`. */
  async reset(options: { readonly orderly?: boolean } = {}): Promise<void> {
    if (options.orderly ?? true) await this.#esys.shutdown('clear');
    await this.tpm.restart();
    await this.#esys.reopen();
  }

  /** TPM Restart: restartCount goes up, resetCount stays. */
  async restart(): Promise<void> {
    await this.#esys.shutdown('state');
    await this.tpm.restart();
    await this.#esys.reopen();
  }

  /** Power off, an earlier copy of the state folder in place of the present one, power on. */
  async setBack(copyOfState: string): Promise<void> {
    await this.#esys.shutdown('clear');
    await this.tpm.kill9();
    const state = join(this.tpm.dir, 'state');
    await rm(state, { recursive: true });
    await cp(copyOfState, state, { recursive: true });
    await this.tpm.restart();
    await this.#esys.reopen();
  }

  /** TPM2_Clear: owner's keys and all counters are gone, the EK stays. */
  async clear(): Promise<void> {
    await this.#esys.clear({ auth: PERMANENT.platform });
  }

  async stop(): Promise<void> {
    await this.#esys.close();
    await this.tpm.stop();
  }

  async #loadEk(): Promise<EsysHandle> {
    const made = await this.#esys.createPrimary({
      parent: PERMANENT.endorsement,
      inPublic: ekTemplate(this.ekTemplate),
    });
    return made.handle;
  }

  async #withSrk<T>(use: (srk: EsysHandle) => Promise<T>): Promise<T> {
    const { handle } = await this.#esys.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() });
    try {
      return await use(handle);
    } finally {
      await this.#esys.flushContext(handle);
    }
  }

  /** Loads the keys for one command: three object slots are all there are. */
  async #loaded<const K extends readonly HostKey[], T>(
    keys: K,
    use: (handles: { readonly [I in keyof K]: EsysHandle }) => Promise<T>,
  ): Promise<T> {
    const handles: EsysHandle[] = [];
    try {
      for (const key of keys) handles.push(await key.load());
      return await use(handles as unknown as { readonly [I in keyof K]: EsysHandle });
    } finally {
      for (const handle of handles) await this.#esys.flushContext(handle);
    }
  }
}

async function readNv(esys: EsysConnection, tpmHandle: number): Promise<Uint8Array> {
  const nvIndex = await esys.fromTpmHandle({ tpmHandle });
  const { dataSize } = parseNvPublic((await esys.nvReadPublic({ nvIndex })).nvPublic);
  const parts: Uint8Array[] = [];
  for (let offset = 0; offset < dataSize; offset += MAX_NV_READ) {
    const size = Math.min(MAX_NV_READ, dataSize - offset);
    parts.push(await esys.nvRead({ auth: nvIndex, nvIndex, size, offset }));
  }
  return new Uint8Array(Buffer.concat(parts));
}

function toJsonForm(made: { readonly attest: Uint8Array; readonly signature: Uint8Array }): SignedAttestJson {
  return { attest: new Uint8Array(made.attest), sig: new Uint8Array(made.signature) };
}
