/** `sign/csr`: certification requests for the agent's key under names that are its own. */
import { toPem } from '../wire/pem.ts';
import { KeydError } from '../wire/problem.ts';
import type { CsrRequest } from '../wire/socket/signing.ts';
import { hostFault } from '../wire/uri-host.ts';
import { buildCsrInfo } from './certification-request.ts';
import { agentIdentifiers, propose, type Draft, type DraftContext } from './draft.ts';

/**
 * URIs: the agent's SPIFFE ID only, and that one where none is asked for. DNS names and an organization: as
 * policy allows. The common name is the agent's own name or one of the DNS names.
 * @throws KeydError `policy_denied`, `not_enrolled`, `malformed_request`
 */
export function draftCsr(context: DraftContext, request: CsrRequest): Draft<{ readonly csr: string }> {
  const { spiffeId } = agentIdentifiers(context.identity, context.agent.name);
  const uris = request.sans?.uri ?? (spiffeId === null ? [] : [spiffeId]);
  const dnsNames = request.sans?.dns ?? [];
  checkUris(uris, spiffeId);
  for (const name of dnsNames) checkDnsName(name);
  const { commonName, organization } = request.subject ?? {};
  if (commonName !== undefined && commonName !== context.agent.name && !dnsNames.includes(commonName)) {
    throw new KeydError(
      'policy_denied',
      `the common name must be ${context.agent.name} or one of the DNS names asked for`,
    );
  }
  if (organization !== undefined && !/^[^\p{Cc}\p{Cf}]{1,64}$/u.test(organization)) {
    throw new KeydError('malformed_request', 'subject.organization must be 1 to 64 printable characters');
  }
  const subject = {
    ...(commonName === undefined ? {} : { commonName }),
    ...(organization === undefined ? {} : { organization }),
  };
  const info = buildCsrInfo(context.agent.publicJwk, subject, { uris, dnsNames });
  return {
    proposal: propose(context, {
      parameters: { operation: 'csr', commonName, organization, uris, dnsNames },
      octets: { kind: 'message', octets: info.toBeSigned },
      binds: ['subject'],
    }),
    assemble: (signature) => ({ csr: toPem('CERTIFICATE REQUEST', info.assemble(signature)) }),
  };
}

function checkUris(uris: readonly string[], spiffeId: string | null): void {
  const foreign = uris.find((uri) => uri !== spiffeId);
  if (foreign === undefined && uris.length <= 1) return;
  if (spiffeId === null) {
    throw new KeydError('not_enrolled', 'this host is not enrolled, so that the agent has no SPIFFE ID yet');
  }
  throw new KeydError('policy_denied', `the only URI of this agent is ${spiffeId}, once`);
}

function checkDnsName(name: string): void {
  const fault = name.startsWith('[') ? 'is an address' : hostFault(name);
  if (fault !== undefined || /(?:^|\.)[0-9]+$/.test(name)) {
    throw new KeydError('malformed_request', `sans.dns: ${JSON.stringify(name)} ${fault ?? 'is an address'}`);
  }
}
