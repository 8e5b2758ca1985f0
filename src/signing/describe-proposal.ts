import { hash } from 'node:crypto';
import type { DecisionEntry } from '../policy/recorder.ts';
import type { Proposal, SigningParameters } from '../policy/proposal.ts';

/** A proposal as its record tells it: no query, no header value, no claim, no body, no token. */
export function describeProposal(
  proposal: Proposal,
): Pick<DecisionEntry, 'action' | 'agent' | 'octetsSha256' | 'parameters'> {
  return {
    action: proposal.parameters.operation,
    agent: proposal.agent,
    octetsSha256: hash('sha256', proposal.octets.octets, 'hex'),
    parameters: describeParameters(proposal.parameters),
  };
}

function describeParameters(parameters: SigningParameters): DecisionEntry['parameters'] {
  switch (parameters.operation) {
    case 'http-message': {
      const { profile, method, target, components, content } = parameters;
      return { profile, method, origin: target.origin, path: target.path, components, content: content.kind };
    }
    case 'dpop':
      return { method: parameters.method, origin: parameters.target.origin, path: parameters.target.path };
    case 'jwt':
      return { typ: parameters.typ, audience: parameters.audience, claims: Object.keys(parameters.claims) };
    case 'csr':
      return { uris: parameters.uris, dnsNames: parameters.dnsNames };
    case 'raw':
      return { input: parameters.input };
    case 'delegate': {
      const { name, scopes, audiences, expiresInSeconds } = parameters;
      return { name, scopes, audiences, expiresInSeconds };
    }
  }
}
