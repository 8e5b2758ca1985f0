/** `keys init`, `keys show`: the issuer's own keys. */
import type { Logger } from '../../base/logger.ts';
import { jwkThumbprint } from '../../wire/jwk.ts';
import type { IssuerConfig } from '../config.ts';
import { CertificateAuthority } from '../credentials/certificate-authority.ts';
import {
  ISSUER_KEY_PURPOSES,
  openIssuerBackend,
  SigningKeys,
  type IssuerKeyPurpose,
} from '../signing-keys.ts';
import { openIssuerStore } from '../store/issuer-store.ts';
import type { Output } from './output.ts';

const TOKEN_TIMEOUT_MS = 60_000;

export interface KeyLine {
  readonly purpose: IssuerKeyPurpose;
  readonly algorithm: string;
  readonly keyId: string;
  readonly thumbprint: string;
  /** Made by this run. */
  readonly made: boolean;
}

/** Makes what is missing, and the CA's certificate; run again, it makes nothing. */
export async function initialiseKeys(config: IssuerConfig, logger: Logger): Promise<readonly KeyLine[]> {
  const store = openIssuerStore(config.stateDirectory);
  try {
    const backend = await openIssuerBackend(config, logger, TOKEN_TIMEOUT_MS);
    try {
      const now = Math.floor(Date.now() / 1000);
      const made = new Set(await SigningKeys.initialise(backend, store.keys, now));
      const keys = await SigningKeys.open(backend, store.keys);
      await CertificateAuthority.initialise(keys, store.keys, config.trustDomain, now);
      // Fails where the configuration names another trust domain than the CA was made for.
      await CertificateAuthority.open(keys, store.keys, config.trustDomain);
      return describe(keys, made);
    } finally {
      await backend.close();
    }
  } finally {
    store.close();
  }
}

export function printKeys(lines: readonly KeyLine[], output: Output, json: boolean): void {
  if (json) {
    output.line(JSON.stringify({ keys: lines }));
    return;
  }
  for (const { purpose, algorithm, thumbprint, made } of lines) {
    output.line(`${purpose.padEnd(11)} ${algorithm.padEnd(8)} ${thumbprint}${made ? '  made now' : ''}`);
  }
  const challenge = lines.find(({ purpose }) => purpose === 'challenge');
  if (challenge !== undefined) {
    output.line(`hosts pin the challenge key: challenge_key = "${challenge.thumbprint}"`);
  }
}

function describe(keys: SigningKeys, made: ReadonlySet<IssuerKeyPurpose>): readonly KeyLine[] {
  return (Object.keys(ISSUER_KEY_PURPOSES) as readonly IssuerKeyPurpose[]).map((purpose) => ({
    purpose,
    algorithm: keys.publicJwk(purpose).alg,
    keyId: keys.keyId(purpose),
    thumbprint: jwkThumbprint(keys.publicJwk(purpose)),
    made: made.has(purpose),
  }));
}
