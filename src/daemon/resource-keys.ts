/** Keys of servers whose signed answers may lower a cost, pinned by configuration, per origin. */
import { readFileSync } from 'node:fs';
import { parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';

/** An origin may have several, so that its key can be changed. */
export type ResourceKeys = ReadonlyMap<string, readonly PublicJwk[]>;

const LIMITS = { maxDepth: 2, maxOctets: 16_384 } as const;

/** @param resources files with one public JWK each. @throws KeydError `configuration_invalid` */
export function readResourceKeys(
  resources: readonly { readonly origin: string; readonly keyFile: string }[],
): ResourceKeys {
  const keys = new Map<string, PublicJwk[]>();
  for (const { origin, keyFile } of resources) {
    const known = keys.get(origin) ?? [];
    keys.set(origin, [...known, readKey(keyFile)]);
  }
  return keys;
}

function readKey(file: string): PublicJwk {
  try {
    return parsePublicJwk(parseStrictJson(readFileSync(file), LIMITS), file);
  } catch (thrown) {
    throw new KeydError('configuration_invalid', `${file}: ${asKeydError(thrown).message}`, {
      cause: thrown,
    });
  }
}
