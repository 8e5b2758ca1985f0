/** What this TPM attests: the AK is a restricted primary in the endorsement hierarchy, derived anew each boot. */
import { silentLogger, type Logger } from '../../base/logger.ts';
import { KeydError } from '../../wire/problem.ts';
import { parseTimeInfo } from '../../wire/tpm/capability-data.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { pcrDigest, serializePcrSelection, type PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import { EK_TEMPLATES, type EkTemplateName } from '../../wire/tpm/templates.ts';
import type { Attester, CertifiedKey, EndorsementKey, QuotedPcrs, TpmIdentity } from '../attester.ts';
import { akSource } from './ak-source.ts';
import { readLoadedPublic, type ObjectSource } from './context-cache.ts';
import { endorsementKeySource, findEndorsementKeys } from './endorsement.ts';
import { PERMANENT, type EsysHandle, type SessionUse } from './esys.ts';
import type { AuthDeriver } from './key-auth.ts';
import { readPcrValues } from './pcr-values.ts';
import { octetsOf, requireAttest, requireQualifyingData } from './statement.ts';
import type { OpenTpm, TpmConnection } from './tpm-connection.ts';
import { isInLockout } from './tpm-facts.ts';
import { keySource, type TpmKeyTable } from './tpm-key.ts';
import type { SessionProtection } from './tpm-signing.ts';

export interface TpmAttesterOptions {
  readonly connection: Pick<TpmConnection, 'run'>;
  readonly keys: TpmKeyTable;
  readonly auths: AuthDeriver;
  readonly protection: SessionProtection;
  readonly logger?: Logger;
}

/** A PCR may be extended between quote and read; IMA does so all the time. */
const QUOTE_TRIES = 4;

export class TpmAttester implements Attester {
  readonly #connection: Pick<TpmConnection, 'run'>;
  readonly #keys: TpmKeyTable;
  readonly #auths: AuthDeriver;
  readonly #protection: SessionProtection;
  readonly #logger: Logger;

  constructor(options: TpmAttesterOptions) {
    this.#connection = options.connection;
    this.#keys = options.keys;
    this.#auths = options.auths;
    this.#protection = options.protection;
    this.#logger = options.logger ?? silentLogger;
  }

  identity(): Promise<TpmIdentity> {
    return this.#connection.run(async ({ esys, facts, srk }) => {
      const { resetCount, restartCount } = parseTimeInfo(await esys.readClock());
      const { manufacturer, vendor, firmwareVersion } = facts;
      return { manufacturer, vendor, firmwareVersion, resetCount, restartCount, srkName: srk.name };
    });
  }

  async endorsementKeys(): Promise<readonly EndorsementKey[]> {
    const { usable, unusable } = await this.#connection.run(({ esys }) => findEndorsementKeys(esys));
    for (const { template, reason } of unusable) {
      this.#logger.warn({ template, err: reason }, 'an EK certificate of the TPM can not be used');
    }
    return usable;
  }

  attestationKey(): Promise<Uint8Array> {
    return this.#connection.run(async (tpm) => {
      const session = await tpm.sessions.use('first');
      const handle = await tpm.objects.acquire(this.#akSource(tpm, session));
      return readLoadedPublic(tpm.esys, handle);
    });
  }

  async activateCredential(
    template: EkTemplateName,
    idObject: Uint8Array,
    encSecret: Uint8Array,
  ): Promise<Uint8Array> {
    const credential = { credentialBlob: new Uint8Array(idObject), secret: new Uint8Array(encSecret) };
    return this.#connection.run(async (tpm) => {
      // An EK is DA-protected; in lockout even the right auth is an attempt too many.
      if (EK_TEMPLATES[template].userWithAuth && (await isInLockout(tpm.esys))) throw lockout();
      const session = await tpm.sessions.use('first', { decrypt: true, encrypt: true });
      return withEkAuthorization(tpm, template, async (ekAuthorization) => {
        const [activateHandle, key] = await this.#akAndEk(tpm, template, session);
        const sessions = [session, ekAuthorization];
        return new Uint8Array(
          await tpm.esys.activateCredential({ activateHandle, key, ...credential, sessions }),
        );
      });
    });
  }

  async publicArea(keyId: string): Promise<Uint8Array> {
    return (await this.#keys.get(keyId)).publicArea.slice();
  }

  async certify(keyId: string, qualifyingData: Uint8Array): Promise<CertifiedKey> {
    requireQualifyingData(qualifyingData);
    const key = await this.#keys.get(keyId);
    return this.#connection.run(async (tpm) => {
      const akSession = await tpm.sessions.use('first');
      const keySession = this.#protection === 'salted' ? await tpm.sessions.use('second') : undefined;
      const [object, signer] = await tpm.objects.acquireBoth(
        keySource(key, tpm, this.#auths),
        this.#akSource(tpm, akSession),
      );
      const made = await tpm.esys.certify({
        object,
        signer,
        qualifyingData,
        sessions: [keySession, akSession],
      });
      const attest = requireAttest(made.attest, 'certify', qualifyingData);
      if (!sameOctets(attest.name, key.name)) {
        throw new KeydError('tpm_unavailable', 'The TPM certified another key than was asked for');
      }
      return {
        attest: octetsOf(made.attest),
        signature: octetsOf(made.signature),
        publicArea: key.publicArea.slice(),
      };
    });
  }

  async quote(selection: PcrSelection, qualifyingData: Uint8Array): Promise<QuotedPcrs> {
    requireQualifyingData(qualifyingData);
    const pcrSelect = serializePcrSelection(selection);
    return this.#connection.run(async (tpm) => {
      const session = await tpm.sessions.use('first');
      const signer = await tpm.objects.acquire(this.#akSource(tpm, session));
      for (let tries = 0; tries < QUOTE_TRIES; tries += 1) {
        const made = await tpm.esys.quote({ signer, qualifyingData, pcrSelect, sessions: [session] });
        const attest = requireAttest(made.attest, 'quote', qualifyingData);
        const pcrs = await readPcrValues(tpm.esys, selection);
        if (sameOctets(pcrDigest('sha256', selection, pcrs), attest.pcrDigest)) {
          return { attest: octetsOf(made.attest), signature: octetsOf(made.signature), pcrs };
        }
      }
      throw new KeydError('tpm_pcr_changed', 'PCRs were extended during each of several quotes; try again');
    });
  }

  async #akAndEk(
    tpm: OpenTpm,
    template: EkTemplateName,
    session: SessionUse,
  ): Promise<readonly [ak: EsysHandle, ek: EsysHandle]> {
    const { persistent, source } = await endorsementKeySource(tpm, template);
    const ak = this.#akSource(tpm, session);
    if (persistent === undefined) return tpm.objects.acquireBoth(ak, source);
    const handle = await tpm.objects.acquire(ak);
    // A persistent key in a command takes a transient slot for the while.
    await tpm.objects.makeRoom(1, [ak.id]);
    return [handle, persistent];
  }

  #akSource(tpm: OpenTpm, session: SessionUse): ObjectSource {
    return akSource(tpm, this.#auths, session);
  }
}

/** Low-range EKs need PolicySecret(endorsement); high-range EKs have an empty auth value and nothing else will do. */
async function withEkAuthorization<T>(
  { esys, sessions }: OpenTpm,
  template: EkTemplateName,
  work: (authorization: SessionUse | undefined) => Promise<T>,
): Promise<T> {
  if (EK_TEMPLATES[template].userWithAuth) return work(undefined);
  const policySession = await sessions.startPolicy();
  try {
    await esys.policySecret({ auth: PERMANENT.endorsement, policySession });
    return await work({ session: policySession, attributes: { continueSession: true } });
  } finally {
    await esys.flushContext(policySession);
  }
}

function lockout(): KeydError {
  return new KeydError(
    'tpm_lockout',
    'The TPM is in dictionary-attack lockout; wait for its recovery time, or tpm2_dictionarylockout --clear-lockout with the lockout auth',
  );
}
