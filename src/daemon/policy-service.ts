/** The policy set for people: shown, and read anew. Implements `PolicyApi`. */
import type { Caller } from '../caller/caller.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { LoadedPolicies } from '../policy/policy-directory.ts';
import type { PolicyApi, PolicyView } from '../socket/services.ts';

export interface PolicyServiceOptions extends ActionGate {
  readonly loaded: () => LoadedPolicies;
  /** Reads the set anew and puts it in force; with a fault anywhere the former one stays. */
  readonly reload: () => void;
}

export class PolicyService implements PolicyApi {
  readonly #options: PolicyServiceOptions;

  constructor(options: PolicyServiceOptions) {
    this.#options = options;
  }

  /** @throws KeydError `policy_denied` */
  async show(caller: Caller): Promise<PolicyView> {
    return requireAction(this.#options, caller, { action: 'policy-read' }, () =>
      Promise.resolve(this.#view()),
    );
  }

  /** @throws KeydError `policy_denied`, `configuration_invalid` */
  async reload(caller: Caller): Promise<PolicyView> {
    // eslint-disable-next-line @typescript-eslint/require-await -- so that what reload throws is its rejection
    return requireAction(this.#options, caller, { action: 'policy-reload' }, async () => {
      this.#options.reload();
      return this.#view();
    });
  }

  #view(): PolicyView {
    const { set, files, observed } = this.#options.loaded();
    return {
      fingerprint: set.fingerprint,
      version: this.#options.authorizer.policyVersion,
      files,
      policies: set.policies.map(({ id }) => id),
      observed,
    };
  }
}
