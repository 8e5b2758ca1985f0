import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KeydError, type ErrorCode } from '../wire/problem.ts';

/**
 * How to get an addon of ours: loaded at its first use, so that a host that does without it needs none of its
 * libraries. Each addon has one file that asks for it (the import rule).
 * @param code of the KeydError where it can not be loaded
 * @param what it is called there
 */
export function addonLoader(name: string, code: ErrorCode, what = `${name}.node`): () => unknown {
  let loaded: unknown;
  return () => {
    if (loaded === undefined) {
      const file = new URL(`../../native/build/Release/${name}.node`, import.meta.url);
      try {
        loaded = createRequire(import.meta.url)(fileURLToPath(file));
      } catch (cause) {
        throw new KeydError(code, `${what} can not be loaded; run scripts/build-native.sh`, { cause });
      }
    }
    return loaded;
  };
}
