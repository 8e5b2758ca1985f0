/**
 * Objects in the TPM's few transient slots. An object is loaded once, its context saved, and from then on
 * brought back by TPM2_ContextLoad, four to six times cheaper than TPM2_Load. Contexts live in memory only:
 * they die with a TPM reset, and the cache dies with the connection.
 */
import { sameOctets } from '../../wire/tpm/codec.ts';
import { TPM_RC } from '../../wire/tpm/constants.ts';
import { publicAreaName } from '../../wire/tpm/name.ts';
import { TssFault, type EsysConnection, type EsysHandle } from './esys.ts';

/** PC Client TPMs have at least three transient slots; libtpms has exactly three. */
const TRANSIENT_SLOTS = 3;

/**
 * How many saved contexts are kept: 10,000 agents in use and room beside them, about 1 KiB each. Were they fewer than
 * the keys in use, each signature would load its key anew.
 */
const MAX_CONTEXTS = 16_384;

/** How to get an object that has no saved context yet. */
export interface ObjectSource {
  /** Name within this cache. */
  readonly id: string;
  /** Slots that loading takes at its peak: 2 where the parent is persistent, for it takes one too. */
  readonly slotsToLoad: 1 | 2;
  load(): Promise<EsysHandle>;
  /** The object's auth value; the cache has it wiped. A loaded context has none, so it is set again each time. */
  auth(): Uint8Array;
}

export class ContextCache {
  readonly #esys: EsysConnection;
  /** Least recently used first. */
  readonly #resident = new Map<string, EsysHandle>();
  /** Least recently used first. */
  readonly #contexts = new Map<string, Buffer>();

  constructor(esys: EsysConnection) {
    this.#esys = esys;
  }

  /** The handle of one object, loaded and with its auth set. */
  async acquire(source: ObjectSource): Promise<EsysHandle> {
    return this.#acquire(source, []);
  }

  /** The handle of an object that is loaded, with its auth set. */
  loaded(id: string): EsysHandle | undefined {
    const resident = this.#resident.get(id);
    if (resident !== undefined) touch(this.#resident, id, resident);
    return resident;
  }

  /** Two objects at once. */
  async acquireBoth(a: ObjectSource, b: ObjectSource): Promise<readonly [EsysHandle, EsysHandle]> {
    // The one that needs more room first: the other then only needs a slot beside it.
    const [first, second] = a.slotsToLoad >= b.slotsToLoad ? [a, b] : [b, a];
    const handle = await this.#acquire(first, []);
    const other = await this.#acquire(second, [first.id]);
    return first === a ? [handle, other] : [other, handle];
  }

  /**
   * Takes an object that TPM2_CreateLoaded left in a slot, which `makeRoom` had freed. Its context is not saved:
   * most such keys are used at once, and one that is evicted before is loaded anew.
   */
  async adopt({ id, auth }: Pick<ObjectSource, 'id' | 'auth'>, handle: EsysHandle): Promise<void> {
    this.#resident.set(id, handle);
    await this.#setAuth(id, handle, auth());
  }

  /** Flushes residents until `slots` are free, least recently used first. */
  async makeRoom(slots: number, keep: readonly string[] = []): Promise<void> {
    for (const id of [...this.#resident.keys()]) {
      if (this.#resident.size + slots <= TRANSIENT_SLOTS) return;
      if (!keep.includes(id)) await this.#evict(id);
    }
  }

  /**
   * Whether every resident handle still is the object it was. Without a resource manager another program can
   * flush an object of ours, and the next one loaded gets its number.
   */
  async isConsistent(): Promise<boolean> {
    for (const handle of this.#resident.values()) {
      try {
        await readLoadedPublic(this.#esys, handle);
      } catch (thrown) {
        if (thrown instanceof TssFault) return false;
        throw thrown;
      }
    }
    return true;
  }

  /** Forgets an object and its context. */
  async drop(id: string): Promise<void> {
    this.#contexts.delete(id);
    await this.#evict(id);
  }

  /** Flushes all residents; their contexts stay. */
  async flush(): Promise<void> {
    for (const id of [...this.#resident.keys()]) await this.#evict(id);
  }

  async #acquire(source: ObjectSource, keep: readonly string[]): Promise<EsysHandle> {
    const { id } = source;
    const resident = this.loaded(id);
    if (resident !== undefined) return resident;
    const handle = await this.#bringIn(source, keep);
    this.#resident.set(id, handle);
    await this.#setAuth(id, handle, source.auth());
    return handle;
  }

  async #setAuth(id: string, handle: EsysHandle, auth: Uint8Array): Promise<void> {
    try {
      await this.#esys.setAuth({ handle, auth });
    } catch (thrown) {
      await this.#evict(id);
      throw thrown;
    } finally {
      auth.fill(0);
    }
  }

  async #bringIn(source: ObjectSource, keep: readonly string[]): Promise<EsysHandle> {
    const context = this.#contexts.get(source.id);
    if (context !== undefined) {
      await this.makeRoom(1, keep);
      touch(this.#contexts, source.id, context);
      return this.#esys.contextLoad(context);
    }
    await this.makeRoom(source.slotsToLoad, keep);
    const handle = await source.load();
    try {
      this.#contexts.set(source.id, await this.#esys.contextSave(handle));
    } catch (thrown) {
      await this.#esys.flushContext(handle);
      throw thrown;
    }
    for (const oldest of this.#contexts.keys()) {
      if (this.#contexts.size <= MAX_CONTEXTS) break;
      this.#contexts.delete(oldest);
    }
    return handle;
  }

  async #evict(id: string): Promise<void> {
    const handle = this.#resident.get(id);
    if (handle === undefined) return;
    this.#resident.delete(id);
    await this.#esys.flushContext(handle);
  }
}

/**
 * TPMT_PUBLIC of a loaded object.
 * @throws TssFault as if it were not loaded, where the number now belongs to another object
 */
export async function readLoadedPublic(esys: EsysConnection, object: EsysHandle): Promise<Uint8Array> {
  const { outPublic } = await esys.readPublic({ object });
  if (!sameOctets(publicAreaName(outPublic), await esys.getName(object))) {
    throw new TssFault(TPM_RC.REFERENCE_H0, 'Esys_ReadPublic');
  }
  return new Uint8Array(outPublic);
}

function touch<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
}
