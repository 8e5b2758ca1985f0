/** The room that speaks with the issuer, and what others need of what it knows. */
import { readFileSync } from 'node:fs';
import type { Logger } from '../base/logger.ts';
import type { HostLogs } from '../issuance/host-logs.ts';
import { IssuanceService } from '../issuance/issuance-service.ts';
import type { ApprovedNames } from '../policy/judge.ts';
import { buildAgentCsr } from '../signing/certification-request.ts';
import type { Hardware } from '../signing/hardware.ts';
import { CREDENTIAL_KINDS } from '../wire/issuance/issue.ts';
import { readSecretText } from './config-host.ts';
import type { DaemonConfig } from './config.ts';
import type { OpenHardware } from './hardware.ts';
import { queuedAttester, queuedBackend } from './queued-backend.ts';
import type { DaemonState } from './state/state.ts';

export interface IssuanceRoomOptions {
  readonly config: DaemonConfig;
  readonly state: DaemonState;
  readonly hardware: OpenHardware;
  readonly backends: Hardware;
  /** Whether this agent's key may sign raw octets: such an agent gets a certificate and nothing else (S1). */
  readonly mayRawSign: (agentName: string) => boolean;
  readonly logs: HostLogs;
  readonly logger: Logger;
}

/** Undefined without an issuer, or without the TPM that attests to it. */
export function composeIssuance(options: IssuanceRoomOptions): IssuanceService | undefined {
  const { config, hardware, logger, state } = options;
  const { issuer } = config;
  const { lanes, tpm } = hardware;
  if (issuer === undefined || tpm === undefined) return undefined;
  const backends = new Map(lanes.map((lane) => [lane.backend.kind, queuedBackend(lane)]));
  return new IssuanceService({
    config: {
      endpoint: {
        url: issuer.url,
        ca: issuer.caFile === undefined ? undefined : readFileSync(issuer.caFile, 'utf8'),
        timeoutMs: issuer.timeoutMs,
      },
      channelBinding: issuer.channelBinding,
      challengeKeyThumbprint: issuer.challengeKeyThumbprint,
      enrolmentToken:
        issuer.enrolmentToken === undefined
          ? undefined
          : readSecretText(issuer.enrolmentToken.path).toString(),
      ttlSeconds: issuer.ttlSeconds,
    },
    store: state.issuance,
    tpm: { ...queuedBackend(tpm.lane), attester: queuedAttester(tpm.lane, tpm.attester) },
    // `lane` names what is missing, should an agent's backend have left the configuration.
    backend: (kind) => backends.get(kind) ?? options.backends.lane(kind).backend,
    // Ephemeral ones are gone before credentials were of use, and every name is the issuer's to keep.
    agents: () => state.agents.list().filter(({ ephemeral }) => ephemeral !== true),
    buildCsr: buildAgentCsr,
    chain: ({ id }) => state.delegations.find(id)?.chain,
    credentialKinds: ({ name }) => (options.mayRawSign(name) ? ['x509'] : CREDENTIAL_KINDS),
    logs: options.logs,
    logger: logger.child({ room: 'issuance' }),
  });
}

/** Which names agents may have here. */
export function approvedNames(
  { issuer }: DaemonConfig,
  issuance: IssuanceService | undefined,
): ApprovedNames {
  if (issuer === undefined) return { state: 'local' };
  const identity = issuance?.identity();
  return identity === undefined
    ? { state: 'pending' }
    : { state: 'approved', patterns: identity.namePatterns };
}

/** Where the issuer is, by configuration and by its own word: agents sign nothing for either (S1). */
export function issuerAuthorities(
  { issuer }: DaemonConfig,
  issuance: IssuanceService | undefined,
): readonly string[] {
  const known = issuance?.host()?.issuer.issuer;
  return [issuer?.url, known].flatMap((url) =>
    url !== undefined && URL.canParse(url) ? [new URL(url).host] : [],
  );
}
