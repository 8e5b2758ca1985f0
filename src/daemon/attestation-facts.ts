/** What policy reads of how this host, and a key on it, stand with the issuer. */
import type { IssuanceService } from '../issuance/issuance-service.ts';
import type { AgentFacts } from '../policy/proposal.ts';
import type { AttestationFacts } from '../policy/verdict.ts';
import { decodeJwt } from '../wire/jws.ts';
import type { AgentStore } from '../signing/agent.ts';

const NONE: AttestationFacts = { status: 'none', level: undefined, ageSeconds: undefined };

export interface AttestationFactsOptions {
  /** Undefined where no issuer is configured. */
  readonly issuance: Pick<IssuanceService, 'host' | 'attestationFault' | 'credentials'> | undefined;
  readonly agents: Pick<AgentStore, 'find'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export function attestationFacts({
  issuance,
  agents,
  now,
}: AttestationFactsOptions): (agent: AgentFacts) => AttestationFacts {
  if (issuance === undefined) return () => NONE;
  const issuedAt = rememberedIssueTime();
  return ({ id }) => {
    const standing = issuance.host()?.standing;
    if (standing === undefined) return NONE;
    const nowSeconds = Math.floor(now() / 1000);
    const isFailing = issuance.attestationFault() !== undefined || standing.expiresAtSeconds <= nowSeconds;
    const agent = agents.find(id);
    const record = agent === undefined ? undefined : issuance.credentials(agent);
    return {
      status: isFailing ? 'failing' : 'good',
      // Of the key's own credentials; a host that stands well says nothing of a key it never showed.
      level: record?.issued.assurance,
      ageSeconds: Math.max(0, nowSeconds - issuedAt(standing.ear)),
    };
  };
}

/** `iat` of an EAR; the same one is asked for at every signature. */
function rememberedIssueTime(): (ear: string) => number {
  let known: { readonly ear: string; readonly iat: number } | undefined;
  return (ear) => {
    if (known?.ear !== ear) {
      const { iat } = decodeJwt(ear).claims;
      known = { ear, iat: typeof iat === 'number' ? iat : 0 };
    }
    return known.iat;
  };
}
