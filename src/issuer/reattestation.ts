/** Message B: a fresh quote keeps a host's standing; evidence that fails ends it (docs/protocol.md). */
import { object, parse } from '../wire/check.ts';
import type { Standing } from '../wire/issuance/enrolment.ts';
import type { ReattestChallenge, ReattestEvidence } from '../wire/issuance/reattestation.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { bootSnapshot, judgedAgainst, takeSnapshot } from './boot-snapshot.ts';
import { nowSeconds, QUOTED_PCRS, QUOTED_PCRS_JSON, type IssuerContext } from './issuer-context.ts';
import { beginStanding, standingAnswer } from './standing-service.ts';
import type { EnrolledHost } from './store/host-records.ts';
import { logsOf, tellWitness, witnessHeads, witnessRevision } from './witness.ts';
import { appraiseReattestation, type ReattestationResult } from './verifier/appraise-reattestation.ts';

const reattestationSession = object({ boot: bootSnapshot, witness: witnessRevision });

/** Verdicts over the evidence; a session that ran out or hardware of ours that failed is none. */
const VERDICTS: ReadonlySet<string> = new Set(['evidence_invalid', 'appraisal_denied', 'host_not_approved']);

/** @throws KeydError `too_many_requests` */
export async function beginReattestation(
  context: IssuerContext,
  host: EnrolledHost,
  network: string,
): Promise<ReattestChallenge> {
  const { told, revision: witness } = await tellWitness(context, host);
  const opened = await context.challenges.open(
    'reattest',
    host.akId,
    network,
    { boot: takeSnapshot(host.boot), witness },
    nowSeconds(context),
  );
  return { ...opened, ...told, pcrSelection: QUOTED_PCRS_JSON };
}

/** @throws KeydError `session_unknown`, `evidence_invalid`, `appraisal_denied`, `host_not_approved` */
export async function finishReattestation(
  context: IssuerContext,
  host: EnrolledHost,
  evidence: ReattestEvidence,
  exporter: Uint8Array | undefined,
): Promise<Standing> {
  const now = nowSeconds(context);
  const { challenge, data } = await context.challenges.take(evidence.session, 'reattest', host.akId, now);
  const { boot, witness } = parse(reattestationSession, data, 'internal');
  const logs = await logsOf(context, host, witness);
  let appraised: ReattestationResult;
  try {
    appraised = appraiseReattestation({
      standing: { ...host, boot: judgedAgainst(host.boot, boot), logs },
      host: context.hosts.find(host.ekHash),
      policy: context.policy(),
      evidence,
      challenge,
      exporter,
      pcrSelection: QUOTED_PCRS,
      nowSeconds: now,
    });
  } catch (thrown) {
    if (thrown instanceof KeydError && VERDICTS.has(thrown.code)) {
      await context.store.hosts.endStanding(host.akId, now);
      context.logger.warn({ akId: host.akId, error: thrown }, 're-attestation failed: the standing ends');
    }
    throw thrown;
  }
  await witnessHeads(context, host, witness, appraised.witnessed);
  const renewed = await beginStanding(context, { ...appraised, akId: host.akId }, challenge.claims.nonce);
  const stillThere = await context.store.hosts.renewStanding(
    { ...renewed, akId: host.akId },
    jwkThumbprint(host.hostKey),
  );
  if (!stillThere) throw new KeydError('conflict', 'this host was enrolled anew meanwhile');
  return standingAnswer(context, { ...host, ...renewed });
}
