/**
 * A TPM 2.0 NV counter (Part 1 §37.2.5) of this daemon: defined at first use, used by an auth value that is derived
 * from the daemon's secret, and looked at anew before each use. One that is gone, or that is not the one of this
 * state, is a condition of its own and never replaced but by an operator's word (docs/decisions/0018).
 */
import { KeydError } from '../../wire/problem.ts';
import { auditCounterPublic, COUNTER_OCTETS, counterValue } from '../../wire/tpm/audit-counter.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { nvName, serializeNvPublic } from '../../wire/tpm/nv-public.ts';
import type {
  CertifiedCounter,
  CounterMemory,
  CounterReading,
  MonotonicCounter,
  RememberedCounter,
} from '../counter.ts';
import { akSource } from './ak-source.ts';
import { PERMANENT, type EsysHandle, type SessionUse } from './esys.ts';
import type { AuthDeriver } from './key-auth.ts';
import { isTpmCode } from './response-code.ts';
import { octetsOf, requireAttest, requireQualifyingData } from './statement.ts';
import type { OpenTpm, TpmConnection } from './tpm-connection.ts';
import type { SessionProtection } from './tpm-signing.ts';

export interface TpmCounterOptions {
  readonly connection: Pick<TpmConnection, 'run'>;
  readonly auths: AuthDeriver;
  readonly protection: SessionProtection;
  readonly memory: CounterMemory;
  /** Where it is defined; one that is in use stays where it is. */
  readonly nvIndex: number;
  readonly now?: () => number;
}

/** TPM_RC_HANDLE, TPM_RC_BAD_AUTH, TPM_RC_NV_DEFINED: format-one codes without handle or session number. */
const NO_SUCH_INDEX = 0x08b;
const BAD_AUTH = 0x0a2;

export class TpmCounter implements MonotonicCounter {
  readonly #options: TpmCounterOptions;

  constructor(options: TpmCounterOptions) {
    this.#options = options;
  }

  async read(): Promise<CounterReading> {
    const attempt = { isIncremented: false };
    return this.#options.connection.run(async (tpm) => {
      const known = await this.#options.memory.load();
      if (known?.state !== 'in-use') return this.#begin(tpm, known, attempt);
      return this.#use(tpm, known.nvIndex, async (nvIndex) =>
        reading(known, await this.#value(tpm, nvIndex)),
      );
    });
  }

  async increment(expected: bigint): Promise<void> {
    // A command whose answer was lost is not repeated: the value tells that it was done.
    let isAsked = false;
    await this.#options.connection.run(async (tpm) => {
      const { nvIndex: index } = await this.#known();
      await this.#use(tpm, index, async (nvIndex) => {
        const value = await this.#value(tpm, nvIndex);
        if (isAsked && value === expected + 1n) return;
        if (value !== expected) throw elsewhere(expected, value);
        isAsked = true;
        await this.#increment(tpm, nvIndex);
      });
    });
  }

  async certify(qualifyingData: Uint8Array): Promise<CertifiedCounter> {
    requireQualifyingData(qualifyingData);
    const { auths, connection, protection } = this.#options;
    return connection.run(async (tpm) => {
      const { nvIndex: index } = await this.#known();
      const akSession = await tpm.sessions.use('first');
      const indexSession = protection === 'salted' ? await tpm.sessions.use('second') : undefined;
      const signer = await tpm.objects.acquire(akSource(tpm, auths, akSession));
      return this.#use(tpm, index, async (nvIndex) => {
        const made = await tpm.esys.nvCertify({
          signer,
          auth: nvIndex,
          nvIndex,
          qualifyingData,
          size: COUNTER_OCTETS,
          offset: 0,
          sessions: [akSession, indexSession],
        });
        const attest = requireAttest(made.attest, 'nv', qualifyingData);
        const value = counterValue(attest.nvContents);
        if (value === undefined || !sameOctets(attest.indexName, nameOf(index, true))) {
          throw new KeydError('tpm_unavailable', 'The TPM certified another NV index than was asked for');
        }
        return { value, attest: octetsOf(made.attest), signature: octetsOf(made.signature) };
      });
    });
  }

  async adopt(): Promise<CounterReading> {
    const { connection, memory, nvIndex, now = Date.now } = this.#options;
    return connection.run(async (tpm) => {
      const found = await find(tpm, nvIndex);
      const isUnwritten = found === undefined || (await isNamed(tpm, found, nvIndex, false));
      await close(tpm, found);
      if (found === undefined) await close(tpm, await this.#define(tpm, nvIndex));
      const take = async (handle: EsysHandle): Promise<CounterReading> => {
        if (isUnwritten) await this.#increment(tpm, handle);
        const value = await this.#value(tpm, handle);
        const taken = { ...inUse(nvIndex, value, now()), isAdopted: true };
        await memory.save(taken);
        return reading(taken, value);
      };
      return this.#use(tpm, nvIndex, take, !isUnwritten);
    });
  }

  /** The counter's first use. Every step is durable before the next, and tells a crash from an older copy. */
  async #begin(
    tpm: OpenTpm,
    known: RememberedCounter | undefined,
    attempt: { isIncremented: boolean },
  ): Promise<CounterReading> {
    const { memory, now = Date.now } = this.#options;
    const nvIndex = known?.nvIndex ?? this.#options.nvIndex;
    let handle = await find(tpm, nvIndex);
    // What is there before it was ever defined, or was written before it was ever incremented, is of a later state.
    const isWritten = handle !== undefined && (await isNamed(tpm, handle, nvIndex, true));
    if (handle !== undefined && (known === undefined || (isWritten && !attempt.isIncremented))) {
      await close(tpm, handle);
      throw foreign(
        nvIndex,
        'this state has never had a counter, so it is an older copy, or another agentkeyd or program has the index',
      );
    }
    if (known === undefined) await memory.save({ state: 'defining', nvIndex, sinceMs: now() });
    handle ??= await this.#define(tpm, nvIndex);
    await close(tpm, handle);
    const take = async (index: EsysHandle): Promise<CounterReading> => {
      if (!isWritten) {
        attempt.isIncremented = true;
        await this.#increment(tpm, index);
      }
      const value = await this.#value(tpm, index);
      const made = inUse(nvIndex, value, now());
      await memory.save(made);
      return reading(made, value);
    };
    return this.#use(tpm, nvIndex, take, isWritten);
  }

  /** The index, its Name checked and its auth value set. */
  async #use<T>(
    tpm: OpenTpm,
    nvIndex: number,
    work: (handle: EsysHandle) => Promise<T>,
    isWritten = true,
  ): Promise<T> {
    const handle = await find(tpm, nvIndex);
    if (handle === undefined) throw gone(nvIndex);
    try {
      if (!(await isNamed(tpm, handle, nvIndex, isWritten)))
        throw foreign(nvIndex, 'the index there is not the one that was defined');
      await this.#authorize(tpm, handle);
      return await work(handle);
    } finally {
      await close(tpm, handle);
    }
  }

  async #define(tpm: OpenTpm, nvIndex: number): Promise<EsysHandle> {
    const { session } = await tpm.sessions.use('first');
    const indexAuth = this.#options.auths.counterAuth();
    try {
      return await tpm.esys.nvDefineSpace({
        auth: PERMANENT.owner,
        indexAuth,
        publicInfo: serializeNvPublic(auditCounterPublic(nvIndex, false)),
        sessions: [{ session, attributes: { decrypt: true, continueSession: true } }],
      });
    } finally {
      indexAuth.fill(0);
    }
  }

  async #authorize(tpm: OpenTpm, handle: EsysHandle): Promise<void> {
    const auth = this.#options.auths.counterAuth();
    try {
      await tpm.esys.setAuth({ handle, auth });
    } finally {
      auth.fill(0);
    }
  }

  async #increment(tpm: OpenTpm, nvIndex: EsysHandle): Promise<void> {
    const sessions = await this.#sessions(tpm);
    await refusedAsForeign(() => tpm.esys.nvIncrement({ auth: nvIndex, nvIndex, sessions }));
  }

  async #value(tpm: OpenTpm, nvIndex: EsysHandle): Promise<bigint> {
    const sessions = await this.#sessions(tpm);
    const contents = await refusedAsForeign(() =>
      tpm.esys.nvRead({ auth: nvIndex, nvIndex, size: COUNTER_OCTETS, offset: 0, sessions }),
    );
    const value = counterValue(contents);
    if (value !== undefined) return value;
    throw new KeydError('tpm_unavailable', `The TPM read ${contents.length} octets of a counter`);
  }

  async #sessions(tpm: OpenTpm): Promise<readonly SessionUse[]> {
    return this.#options.protection === 'salted' ? [await tpm.sessions.use('first')] : [];
  }

  async #known(): Promise<RememberedCounter> {
    const known = await this.#options.memory.load();
    if (known?.state === 'in-use') return known;
    throw new KeydError('tpm_unavailable', 'The TPM’s counter has not been read yet');
  }
}

async function find({ esys }: OpenTpm, tpmHandle: number): Promise<EsysHandle | undefined> {
  try {
    return await esys.fromTpmHandle({ tpmHandle });
  } catch (thrown) {
    if (isTpmCode(thrown, NO_SUCH_INDEX)) return undefined;
    throw thrown;
  }
}

async function close({ esys }: OpenTpm, handle: EsysHandle | undefined): Promise<void> {
  if (handle !== undefined) await esys.closeHandle(handle);
}

/** The Name is over the whole public area: nothing of it can differ. */
async function isNamed(
  { esys }: OpenTpm,
  handle: EsysHandle,
  nvIndex: number,
  isWritten: boolean,
): Promise<boolean> {
  return sameOctets(await esys.getName(handle), nameOf(nvIndex, isWritten));
}

function nameOf(nvIndex: number, isWritten: boolean): Uint8Array {
  return nvName(auditCounterPublic(nvIndex, isWritten));
}

function inUse(nvIndex: number, value: bigint, sinceMs: number): RememberedCounter {
  return { state: 'in-use', nvIndex, sinceValue: String(value), sinceMs };
}

function reading({ sinceValue, isAdopted, nvIndex }: RememberedCounter, value: bigint): CounterReading {
  return {
    value,
    isNew: isAdopted !== true && sinceValue === String(value),
    nvPublic: serializeNvPublic(auditCounterPublic(nvIndex, true)),
  };
}

/** An index of the same form that does not know our auth value was put there by somebody else. */
async function refusedAsForeign<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (!isTpmCode(thrown, BAD_AUTH)) throw thrown;
    throw new KeydError(
      'tpm_counter_foreign',
      'The TPM’s counter refuses the auth value of this daemon: it was defined anew by somebody else, or the daemon’s secret is another',
      { cause: thrown },
    );
  }
}

function gone(nvIndex: number): KeydError {
  return new KeydError(
    'tpm_counter_gone',
    `The counter of this host (NV index ${hexIndex(nvIndex)}) is not in the TPM any more: the TPM was cleared or replaced, or somebody removed it; see agentkey ledger accept-rollback`,
  );
}

function foreign(nvIndex: number, why: string): KeydError {
  return new KeydError(
    'tpm_counter_foreign',
    `NV index ${hexIndex(nvIndex)} of the TPM is not the counter of this state: ${why}; see tpm.counter_index and agentkey ledger accept-rollback`,
  );
}

function elsewhere(expected: bigint, value: bigint): KeydError {
  return new KeydError(
    'ledger_rolled_back',
    `the TPM’s counter is at ${value} where the ledger is of epoch ${expected}: another copy of this state has gone on`,
  );
}

function hexIndex(nvIndex: number): string {
  return `0x${nvIndex.toString(16).padStart(8, '0')}`;
}
