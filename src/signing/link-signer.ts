import type { Caller } from '../caller/caller.ts';
import type { Authorizer } from '../policy/authorize.ts';
import type { Recorder } from '../policy/recorder.ts';
import { describeProposal } from './describe-proposal.ts';
import type { Draft } from './draft.ts';
import { signRecorded } from './sign-recorded.ts';
import type { Signer } from './signer.ts';

export interface LinkSignerOptions {
  readonly authorizer: Authorizer;
  readonly recorder: Recorder;
  readonly signer: Signer;
  /** This process, in whose name links are renewed. */
  readonly self: Caller;
}

/** Signs links that are renewed: on terms that a caller was granted before, and on record like any signature. */
export class LinkSigner {
  readonly #options: LinkSignerOptions;

  constructor(options: LinkSignerOptions) {
    this.#options = options;
  }

  /** @throws KeydError `no_grant`, `authority_exceeded`, `delegation_*`, and those of the backend */
  async sign(draft: Draft<{ readonly link: string }>, signal: AbortSignal): Promise<string> {
    const { authorizer, self } = this.#options;
    const { decision, authority, grant } = authorizer.authorizeRenewal(draft.proposal);
    const entry = {
      caller: self,
      decision,
      ...describeProposal(draft.proposal),
      ...(authority === undefined ? {} : { authority }),
    };
    const signature = await signRecorded(this.#options, { entry, grant, reservation: undefined, signal });
    return draft.assemble(signature).link;
  }
}
