/**
 * What the TPM signed of its own signatures, as the entries of a log hold it: each is judged anew, against the one
 * before it. The expected digest is the daemon's word; that the TPM's differs from it, or does not, is the TPM's.
 */
import type { AuditEntry } from '../wire/audit-entry.ts';
import { decodeBase64url, encodeBase64url } from '../wire/base64url.ts';
import {
  commandAuditData,
  commandAuditMark,
  judgeCommandAudit,
  type CommandAuditMark,
  type CommandAuditVerdict,
} from '../wire/command-audit.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { parseAttest, type CommandAuditAttest } from '../wire/tpm/attest.ts';
import { sameOctets } from '../wire/tpm/codec.ts';
import { publicAreaName, primaryQualifiedName } from '../wire/tpm/name.ts';
import { TPM_RH } from '../wire/tpm/constants.ts';
import { hasAttributes, parsePublicArea } from '../wire/tpm/public-area.ts';
import { isSignAudited } from '../wire/tpm/audit-digest.ts';
import { verifyTpmSignature } from '../wire/tpm/signature.ts';
import { finding, type AuditFinding } from './audit-findings.ts';
import type { AuditHeads } from './audit-heads.ts';

export type CommandAuditEntry = Extract<AuditEntry, { readonly kind: 'command-audit' }>;

const WHY = {
  reset: 'the TPM was reset or is another',
  settings: 'which commands the TPM audits was changed',
  taken: 'somebody else had the TPM’s digest signed, which empties it',
  lost: 'a connection to the TPM ended with a command under way',
  shared: 'other programs sign with this TPM, by the operator’s word',
} as const;

export class CommandAudits {
  readonly #akIds: readonly string[] | undefined;
  readonly #heads: AuditHeads;
  readonly #tell: (found: AuditFinding) => void;
  #mark: CommandAuditMark | undefined;
  #last: number | undefined;

  constructor(akIds: readonly string[] | undefined, heads: AuditHeads, tell: (found: AuditFinding) => void) {
    this.#akIds = akIds;
    this.#heads = heads;
    this.#tell = tell;
  }

  add(entry: CommandAuditEntry, index: number): void {
    let attest: CommandAuditAttest;
    try {
      attest = this.#statement(entry);
      if (entry.auditSize > index)
        throw invalid(`it is over ${entry.auditSize} entries, and ${index} stand before it`);
    } catch (thrown) {
      this.#invalid(asKeydError(thrown).message, index);
      return;
    }
    this.#heads.whenAt(entry.auditSize, (root) => {
      if (encodeBase64url(root) === entry.auditHead) return;
      this.#invalid(`the first ${entry.auditSize} entries are not those that the TPM signed for`, index);
    });
    this.#judge(this.#verdict(entry, attest), index);
    this.#mark = isSignAudited(attest.digestAlg, attest.commandDigest) ? commandAuditMark(attest) : undefined;
    this.#last = index;
  }

  #invalid(detail: string, index: number): void {
    this.#tell(finding('command_audit_invalid', `the command audit of entry ${index}: ${detail}`, index));
  }

  #verdict(
    { effect, expected, reason, signed }: CommandAuditEntry,
    attest: CommandAuditAttest,
  ): CommandAuditVerdict {
    // What only the daemon can know, it can only say to the effect that nothing is told.
    if (this.#mark === undefined || effect === 'began' || reason === 'lost') {
      return effect === 'inconclusive' && reason !== undefined ? { effect, reason } : { effect: 'began' };
    }
    const verdict = judgeCommandAudit(this.#mark, attest, { digest: decodeBase64url(expected), signed });
    return verdict.effect === 'foreign' && reason === 'shared' ? { effect: 'inconclusive', reason } : verdict;
  }

  #judge({ effect, reason }: CommandAuditVerdict, index: number): void {
    const since = this.#last === undefined ? 'before' : `since entry ${this.#last}`;
    if (effect === 'foreign') {
      const detail = `${since} the TPM performed TPM2_Sign, or a change of what it audits, that the daemon did not send to it (entry ${index})`;
      this.#tell(finding('signed_outside_daemon', detail, index));
    } else if (effect !== 'match' && (this.#last !== undefined || effect !== 'began')) {
      const why =
        reason === undefined
          ? 'the daemon had ended without noting where the TPM’s digest stood'
          : WHY[reason];
      const detail = `nothing is known of signatures outside the daemon ${since}: ${why}`;
      this.#tell(finding('command_audit_inconclusive', detail, index));
    }
  }

  #statement(entry: CommandAuditEntry): CommandAuditAttest {
    const ak = decodeBase64url(entry.ak);
    const area = parsePublicArea(ak);
    const name = publicAreaName(ak);
    // Only what a restricted key signs is a TPM's own statement.
    if (!hasAttributes(area, 'restricted', 'sign', 'fixedTPM'))
      throw invalid('its key is no attestation key');
    if (this.#akIds !== undefined && !this.#akIds.includes(Buffer.from(name).toString('hex')))
      throw invalid('it is by another attestation key than was given');
    const octets = decodeBase64url(entry.attest);
    if (!verifyTpmSignature(area, octets, decodeBase64url(entry.signature)))
      throw invalid('the signature of the attestation key does not verify');
    const attest = parseAttest(octets);
    if (attest.type !== 'command-audit') throw invalid(`it is a statement of type ${attest.type}`);
    if (!sameOctets(attest.qualifiedSigner, primaryQualifiedName(TPM_RH.ENDORSEMENT, name)))
      throw invalid('the statement names another signer');
    if (!sameOctets(attest.extraData, commandAuditData(entry)))
      throw invalid('the TPM signed for another expectation, or another state of the log');
    return attest;
  }
}

function invalid(detail: string): KeydError {
  return new KeydError('verification_failed', detail);
}
