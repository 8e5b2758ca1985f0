/**
 * TPM 2.0 command audit of TPM2_Sign (Part 1 §31, Part 3 §18.7 and §21.2): switched on where it is not, and the digest
 * taken by the AK, which empties it, and held against what this process sent (docs/decisions/0041). Everything here
 * runs alone on the TPM, while no signature is under way.
 */
import { encodeBase64url } from '../../wire/base64url.ts';
import {
  commandAuditMark,
  judgeCommandAudit,
  judgeDigest,
  type CommandAuditMark,
  type CommandAuditVerdict,
} from '../../wire/command-audit.ts';
import { parseAttest, type CommandAuditAttest } from '../../wire/tpm/attest.ts';
import { AUDIT_DIGEST_ALG, isSignAudited } from '../../wire/tpm/audit-digest.ts';
import { TPM_ALG, TPM_CC } from '../../wire/tpm/constants.ts';
import { KeydError } from '../../wire/problem.ts';
import type {
  CommandAudit,
  CommandAuditCheck,
  CommandAuditMemory,
  CommandAuditReading,
} from '../command-audit.ts';
import { akSource } from './ak-source.ts';
import { readLoadedPublic } from './context-cache.ts';
import { PERMANENT } from './esys.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { SignAudit } from './sign-audit.ts';
import { octetsOf, requireAttest } from './statement.ts';
import type { OpenTpm, TpmConnection } from './tpm-connection.ts';

export interface TpmCommandAuditOptions {
  readonly connection: Pick<TpmConnection, 'run'>;
  readonly auths: AuthDeriver;
  readonly audit: SignAudit;
  readonly memory: CommandAuditMemory;
  readonly isShared: boolean;
}

export class TpmCommandAudit implements CommandAudit {
  readonly #options: TpmCommandAuditOptions;
  /** When the digest was last taken; undefined while nothing is known of the time since. */
  #mark: CommandAuditMark | undefined;
  /** What was said last, so that an idle host does not say it again and again. */
  #last: CommandAuditVerdict | undefined;

  constructor(options: TpmCommandAuditOptions) {
    this.#options = options;
  }

  async resume(): Promise<void> {
    const remembered = await this.#options.memory.take();
    if (remembered === undefined) return;
    this.#mark = remembered.mark;
    this.#options.audit.begin(remembered.expected);
  }

  async check(check: CommandAuditCheck): Promise<CommandAuditReading | undefined> {
    // Taking the digest empties it: where the answer was lost, asking again tells nothing of the time before.
    const attempt = { isTaken: false };
    return this.#options.connection.run(async (tpm) => {
      const peek = await lookAtDigest(tpm);
      if (!check.always && this.#isAsLast(peek)) return undefined;
      // Switching it on is itself audited, so it is done only where nothing is known of the time before.
      if (this.#mark === undefined && !isOn(peek)) await switchOn(tpm);
      return this.#take(tpm, check, attempt);
    });
  }

  async end(): Promise<void> {
    const { audit, memory } = this.#options;
    if (this.#mark === undefined || audit.isLost) return;
    await memory.save({ mark: this.#mark, expected: audit.expected });
  }

  /** Whether the digest says what it said last, or that nothing happened that should not have. */
  #isAsLast(peek: CommandAuditAttest): boolean {
    const { audit } = this.#options;
    if (this.#mark === undefined || audit.isLost) return this.#last?.reason === 'settings';
    return judgeDigest(this.#mark.auditCounter, peek, audit.expected).effect === 'match';
  }

  async #take(
    tpm: OpenTpm,
    { bind }: CommandAuditCheck,
    attempt: { isTaken: boolean },
  ): Promise<CommandAuditReading> {
    const { audit, auths } = this.#options;
    const session = await tpm.sessions.use('first');
    const signer = await tpm.objects.acquire(akSource(tpm, auths, session));
    const ak = await readLoadedPublic(tpm.esys, signer);
    const { digest, signed } = audit.expected;
    const expected = encodeBase64url(digest);
    const qualifyingData = bind(expected, signed);
    const wasTaken = attempt.isTaken;
    attempt.isTaken = true;
    const made = await tpm.esys.getCommandAuditDigest({
      privacyAdmin: PERMANENT.endorsement,
      signer,
      qualifyingData,
      sessions: [undefined, session],
    });
    const attest = requireAttest(made.attest, 'command-audit', qualifyingData);
    const verdict = this.#judge(attest, wasTaken);
    // Audited otherwise, it tells nothing until it was switched on again.
    this.#mark = isOn(attest) ? commandAuditMark(attest) : undefined;
    this.#last = verdict;
    audit.begin();
    return {
      ...verdict,
      ak,
      expected,
      signed,
      attest: octetsOf(made.attest),
      signature: octetsOf(made.signature),
    };
  }

  #judge(attest: CommandAuditAttest, wasTaken: boolean): CommandAuditVerdict {
    const { audit, isShared } = this.#options;
    if (this.#mark === undefined)
      return isOn(attest) ? { effect: 'began' } : { effect: 'inconclusive', reason: 'settings' };
    if (wasTaken || audit.isLost) return { effect: 'inconclusive', reason: 'lost' };
    const verdict = judgeCommandAudit(this.#mark, attest, audit.expected);
    // S16: where another program signs with this TPM, its signatures are not told from ours.
    return verdict.effect === 'foreign' && isShared ? { effect: 'inconclusive', reason: 'shared' } : verdict;
  }
}

function isOn({ commandDigest, digestAlg }: CommandAuditAttest): boolean {
  return isSignAudited(digestAlg, commandDigest);
}

/** Unsigned, so that it stays as it is. */
async function lookAtDigest({ esys }: OpenTpm): Promise<CommandAuditAttest> {
  const { attest } = await esys.getCommandAuditDigest({
    privacyAdmin: PERMANENT.endorsement,
    signer: PERMANENT.null,
    qualifyingData: new Uint8Array(),
  });
  const parsed = parseAttest(octetsOf(attest));
  if (parsed.type === 'command-audit') return parsed;
  throw new KeydError('tpm_unavailable', 'The TPM attested something else than its command audit');
}

/** A change of hash is a command of its own; commands that others have audited stay so. */
async function switchOn({ esys }: OpenTpm): Promise<void> {
  const auth = PERMANENT.owner;
  await esys.setCommandCodeAuditStatus({ auth, auditAlg: AUDIT_DIGEST_ALG, setList: [], clearList: [] });
  await esys.setCommandCodeAuditStatus({
    auth,
    auditAlg: TPM_ALG.NULL,
    setList: [TPM_CC.Sign],
    clearList: [],
  });
}
