/** Message C from the daemon's side: credentials for exactly this key, certified for exactly this request. */
import type { Attester } from '../backend/attester.ts';
import type { BackendKind, HardwareKey, KeyBackend } from '../backend/backend.ts';
import { parseAgentName, spiffeId } from '../wire/agent-name.ts';
import { attestedData } from '../wire/attested-data.ts';
import { parse } from '../wire/check.ts';
import type { ChannelBinding } from '../wire/issuance/challenge.ts';
import {
  ISSUE_CHALLENGE_PATH,
  ISSUE_PATH,
  issueBound,
  issueChallenge,
  issuedCredentials,
  type CredentialKind,
  type CredentialRequest,
  type IssueRequest,
  type IssuedCredentials,
} from '../wire/issuance/issue.ts';
import { jwkThumbprint, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { checkChallenge } from './challenge-check.ts';
import { quote } from './enrolment.ts';
import type { HostLogs } from './host-logs.ts';
import { postSigned } from './host-request.ts';
import type { HostRecord } from './issuance-store.ts';
import { checkIssued } from './issued-check.ts';
import type { IssuerChannel } from './issuer-channel.ts';

/** An agent as far as issuance has to know it. */
export interface IssuableAgent {
  readonly id: string;
  readonly name: string;
  readonly backend: BackendKind;
  readonly keyId: string;
  readonly kid: string;
  readonly publicJwk: PublicJwk;
}

/** A PKCS#10 request in two steps, because the key that signs it is in hardware. */
export interface CsrDraft {
  /** CertificationRequestInfo, DER: what is signed. */
  readonly toBeSigned: Uint8Array;
  /** DER of the whole request, from a JOSE signature. */
  assemble(signature: Uint8Array): Uint8Array;
}

/** Builds a CSR with an empty subject and one URI SAN. Injected: signing owns PKCS#10. */
export type CsrBuilder = (publicJwk: PublicJwk, uri: string) => CsrDraft;

export interface IssuingInput {
  /** The TPM that is attested and whose host key signs the calls. */
  readonly host: HostRecord;
  readonly hostKey: HardwareKey;
  readonly hostBackend: KeyBackend;
  readonly attester: Attester;
  /** Where the agent's key is. */
  readonly agentBackend: KeyBackend;
  readonly agent: IssuableAgent;
  readonly kinds: readonly CredentialKind[];
  readonly ttlSeconds: number;
  /** Of a sub-agent: the tokens that delegate to its present key, DT₀ first. */
  readonly chain: readonly string[] | undefined;
  readonly buildCsr: CsrBuilder;
  readonly logs: HostLogs | undefined;
  readonly channel: IssuerChannel;
  readonly channelBinding: ChannelBinding;
  readonly nowMs: number;
}

/** @throws KeydError `issuer_*`, `tpm_*`, `token_*` */
export async function obtainCredentials(input: IssuingInput): Promise<IssuedCredentials> {
  const { host, agent, channel, hostKey, hostBackend } = input;
  const akId = host.standing.akId;
  const req: CredentialRequest = {
    agentId: agent.id,
    name: agent.name,
    creds: input.kinds,
    ttlSeconds: input.ttlSeconds,
    ...(input.chain === undefined ? {} : { chain: input.chain }),
  };
  const m6 = parse(
    issueChallenge,
    await postSigned(channel, hostBackend, hostKey, ISSUE_CHALLENGE_PATH, { akId, req }, input.nowMs),
    'issuer_refused',
  );
  const binding = await checkChallenge(
    m6.challenge,
    host.issuer,
    { op: 'issue', session: m6.session, sub: akId },
    input.channelBinding,
    channel,
    input.nowMs,
  );
  const uri = spiffeId(host.issuer.trustDomain, host.standing.host.label, parseAgentName(agent.name));
  const csr = await signedCsr(input, uri);
  const key = await keyEvidence(input, m6.challenge, req, csr, binding);
  const quoted =
    m6.quote === 'required'
      ? { quote: await quote(input.attester, m6.pcrSelection.sha256, key.extraData('issue-quote')) }
      : {};
  const logged = await input.logs?.evidence(m6.witness, (bound) =>
    attestedData('audit', m6.challenge, bound, binding),
  );
  const m7: IssueRequest = { session: m6.session, csr, ...key.members, ...quoted, ...logged };
  const issued = parse(
    issuedCredentials,
    await postSigned(channel, hostBackend, hostKey, ISSUE_PATH, m7, input.nowMs),
    'issuer_refused',
  );
  input.logs?.seen();
  await checkIssued(issued, host.issuer, {
    publicJwk: agent.publicJwk,
    uri,
    mayHoldGrant: mayHoldGrant(agent, input.kinds),
    nowMs: input.nowMs,
  });
  return issued;
}

/** Whether DT₀ is for this agent: a root agent, and one that may have more than a certificate (S1). */
export function mayHoldGrant({ name }: IssuableAgent, kinds: readonly CredentialKind[]): boolean {
  return parseAgentName(name).depth === 0 && kinds.some((kind) => kind !== 'x509');
}

async function signedCsr(input: IssuingInput, uri: string): Promise<Uint8Array> {
  const draft = input.buildCsr(input.agent.publicJwk, uri);
  const signature = await input.agentBackend.sign(input.agent.keyId, {
    kind: 'message',
    octets: draft.toBeSigned,
  });
  return draft.assemble(signature);
}

interface KeyEvidence {
  readonly members: Pick<IssueRequest, 'tpmKey' | 'tokenKey'>;
  extraData(op: 'issue-certify' | 'issue-quote'): Uint8Array;
}

/** TPM keys are certified by the AK; a token's key is named, with the token an operator has registered. */
async function keyEvidence(
  { agent, agentBackend, attester }: IssuingInput,
  challenge: string,
  req: CredentialRequest,
  csr: Uint8Array,
  binding: Uint8Array | undefined,
): Promise<KeyEvidence> {
  const publicArea = agent.backend === 'tpm' ? await attester.publicArea(agent.keyId) : undefined;
  const bound = issueBound(req, publicArea ?? agent.publicJwk, csr);
  const extraData = (op: 'issue-certify' | 'issue-quote') => attestedData(op, challenge, bound, binding);
  if (publicArea !== undefined) {
    const { attest, signature } = await attester.certify(agent.keyId, extraData('issue-certify'));
    return { members: { tpmKey: { public: publicArea, certify: { attest, sig: signature } } }, extraData };
  }
  const { hardware } = await agentBackend.describe();
  const { manufacturer, model, serial } = hardware as Readonly<Partial<Record<string, string>>>;
  if (manufacturer === undefined || model === undefined || serial === undefined) {
    throw new KeydError(
      'token_unavailable',
      `the token that holds ${jwkThumbprint(agent.publicJwk)} is not present`,
    );
  }
  return {
    members: { tokenKey: { jwk: agent.publicJwk, token: { manufacturer, model, serial } } },
    extraData,
  };
}
