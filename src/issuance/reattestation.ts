/** Message B from the daemon's side: a fresh quote keeps the host's standing. */
import type { Attester } from '../backend/attester.ts';
import type { HardwareKey, KeyBackend } from '../backend/backend.ts';
import { attestedData } from '../wire/attested-data.ts';
import { parse } from '../wire/check.ts';
import type { ChannelBinding } from '../wire/issuance/challenge.ts';
import { EVIDENCE_PATH, standing, type Standing } from '../wire/issuance/enrolment.ts';
import {
  REATTEST_CHALLENGE_PATH,
  reattestChallenge,
  reattestationBound,
} from '../wire/issuance/reattestation.ts';
import { checkChallenge } from './challenge-check.ts';
import { quote } from './enrolment.ts';
import type { HostLogs } from './host-logs.ts';
import { postSigned } from './host-request.ts';
import type { HostRecord } from './issuance-store.ts';
import type { IssuerChannel } from './issuer-channel.ts';
import { checkStanding } from './standing-check.ts';

export interface ReattestationInput {
  readonly backend: KeyBackend;
  readonly attester: Attester;
  readonly channel: IssuerChannel;
  readonly channelBinding: ChannelBinding;
  readonly host: HostRecord;
  readonly hostKey: HardwareKey;
  readonly logs: HostLogs | undefined;
  readonly nowMs: number;
}

/** @throws KeydError `issuer_*`, `tpm_*` */
export async function reattestHost(input: ReattestationInput): Promise<Standing> {
  const { channel, backend, hostKey, host } = input;
  const akId = host.standing.akId;
  const m2 = parse(
    reattestChallenge,
    await postSigned(channel, backend, hostKey, REATTEST_CHALLENGE_PATH, { akId }, input.nowMs),
    'issuer_refused',
  );
  const binding = await checkChallenge(
    m2.challenge,
    host.issuer,
    { op: 'reattest', session: m2.session, sub: akId },
    input.channelBinding,
    channel,
    input.nowMs,
  );
  const extraData = attestedData('reattest', m2.challenge, reattestationBound(akId, m2.session), binding);
  const evidence = {
    session: m2.session,
    quote: await quote(input.attester, m2.pcrSelection.sha256, extraData),
    ...(await input.logs?.evidence(m2.witness, (bound) =>
      attestedData('audit', m2.challenge, bound, binding),
    )),
  };
  const renewed = parse(
    standing,
    await postSigned(channel, backend, hostKey, EVIDENCE_PATH, evidence, input.nowMs),
    'issuer_refused',
  );
  input.logs?.seen();
  await checkStanding(renewed, host.issuer, akId);
  return renewed;
}
