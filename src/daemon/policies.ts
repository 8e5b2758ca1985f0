/** The policy set in force and the candidates beside it, as the configuration says. */
import type { Logger } from '../base/logger.ts';
import { loadPolicies, type LoadedPolicies } from '../policy/policy-directory.ts';
import type { PolicySetConfig } from './config.ts';

export interface Policies {
  readonly loaded: LoadedPolicies;
  /** Reads everything anew; with a fault anywhere the former set stays. @throws KeydError `configuration_invalid` */
  reload(): LoadedPolicies;
}

/** @throws KeydError `configuration_invalid` */
export function openPolicies(config: PolicySetConfig, log: Logger): Policies {
  const load = (): LoadedPolicies => {
    const loaded = loadPolicies(config.directory, config.observeDirectory);
    const { files, observed, set } = loaded;
    log.info(
      { files, observed, policies: set.policies.length, fingerprint: set.fingerprint },
      'policies are in force',
    );
    return loaded;
  };
  let loaded = load();
  return {
    get loaded() {
      return loaded;
    },
    reload() {
      loaded = load();
      return loaded;
    },
  };
}
