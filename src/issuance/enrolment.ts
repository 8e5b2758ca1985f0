/** Message A from the daemon's side: proves to the issuer which TPM this is and that the AK lives in it. */
import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { Attester } from '../backend/attester.ts';
import type { HardwareKey, KeyBackend, KeyPurpose } from '../backend/backend.ts';
import { activationMessage, attestedData } from '../wire/attested-data.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { parse } from '../wire/check.ts';
import type { ChannelBinding } from '../wire/issuance/challenge.ts';
import {
  ENROL_PATH,
  EVIDENCE_PATH,
  enrolChallenge,
  enrolmentBound,
  enrolmentOctets,
  standing,
  type EnrolEvidence,
  type EnrolRequest,
} from '../wire/issuance/enrolment.ts';
import { METADATA_PATH, issuerMetadata, type IssuerMetadata } from '../wire/issuance/metadata.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { publicAreaName } from '../wire/tpm/name.ts';
import { checkChallenge } from './challenge-check.ts';
import type { HostLogs } from './host-logs.ts';
import { postJson } from './host-request.ts';
import type { HostRecord } from './issuance-store.ts';
import type { IssuerChannel } from './issuer-channel.ts';
import { toPcrSelection } from './pcr-selection.ts';
import { checkStanding } from './standing-check.ts';

export interface EnrolmentInput {
  readonly backend: KeyBackend;
  readonly attester: Attester;
  readonly channel: IssuerChannel;
  readonly channelBinding: ChannelBinding;
  /** What is pinned already: the challenge key may then not change. */
  readonly known: HostRecord | undefined;
  /** RFC 7638 thumbprint by configuration; overrides what was pinned on first use. */
  readonly challengeKeyThumbprint: string | undefined;
  readonly enrolmentToken: string | undefined;
  readonly logs: HostLogs | undefined;
  readonly nowMs: number;
}

/**
 * Enrols this host and returns its record.
 * @throws KeydError `issuer_*`, `tpm_*`
 */
export async function enrolHost(input: EnrolmentInput): Promise<HostRecord> {
  const { attester, backend, channel } = input;
  const issuer = pinIssuer(await fetchMetadata(channel), input);
  const [ek] = await attester.endorsementKeys();
  if (ek === undefined) {
    throw new KeydError(
      'tpm_unavailable',
      'this TPM holds no EK certificate; an issuer can not recognise it',
    );
  }
  const identity = await attester.identity();
  const ak = await attester.attestationKey();
  const hostKey = await hostPurposeKey(backend, 'host', input.known?.hostKeyId);
  const auditKey = await hostPurposeKey(backend, 'audit', input.known?.auditKeyId);

  const m1: EnrolRequest = {
    v: 1,
    ek: { template: ek.template, public: ek.publicArea, cert: ek.certificate, chain: [] },
    ak: { public: ak },
    tpmInfo: `${identity.manufacturer} ${identity.vendor} ${identity.firmwareVersion}`.slice(0, 512),
    ...(input.enrolmentToken === undefined ? {} : { enrolmentToken: input.enrolmentToken }),
  };
  const m2 = parse(enrolChallenge, await postJson(channel, ENROL_PATH, m1), 'issuer_refused');
  const binding = await checkChallenge(
    m2.challenge,
    issuer,
    { op: 'enroll', session: m2.session, sub: createHash('sha256').update(ek.publicArea).digest('hex') },
    input.channelBinding,
    channel,
    input.nowMs,
  );
  const secret = await attester.activateCredential(
    ek.template,
    m2.credential.idObject,
    m2.credential.encSecret,
  );

  const nvPublic = await input.logs?.nvPublic();
  // Both Certify calls and the quote carry the same extraData, which names both host keys.
  const hostPublic = await attester.publicArea(hostKey.keyId);
  const auditPublic = await attester.publicArea(auditKey.keyId);
  const extraData = attestedData(
    'enroll',
    m2.challenge,
    enrolmentBound(m1, hostPublic, auditPublic, nvPublic),
    binding,
  );
  const m3: EnrolEvidence = {
    session: m2.session,
    proof: createHmac('sha256', secret)
      .update(activationMessage(m2.challenge, enrolmentOctets(m1)))
      .digest(),
    quote: await quote(attester, m2.pcrSelection.sha256, extraData),
    hostKey: await certified(attester, hostKey, extraData),
    auditKey: await certified(attester, auditKey, extraData),
    ...(nvPublic === undefined ? {} : { nvPublic }),
  };
  const m4 = parse(standing, await postJson(channel, EVIDENCE_PATH, m3), 'issuer_refused');
  const akName = Buffer.from(publicAreaName(ak)).toString('hex');
  await checkStanding(m4, issuer, akName);
  return {
    hostKeyId: hostKey.keyId,
    auditKeyId: auditKey.keyId,
    issuer,
    standing: m4,
    ...(nvPublic === undefined ? {} : { counter: encodeBase64url(nvPublic) }),
  };
}

async function fetchMetadata(channel: IssuerChannel): Promise<IssuerMetadata> {
  return parse(issuerMetadata, await channel.exchange('GET', METADATA_PATH, {}), 'issuer_refused');
}

/** Trust on first use over authenticated TLS; after that, or by configuration, the challenge key is fixed. */
function pinIssuer(offered: IssuerMetadata, input: EnrolmentInput): IssuerMetadata {
  const got = jwkThumbprint(offered.keys.challenge);
  const known = input.known?.issuer.keys.challenge;
  const want = input.challengeKeyThumbprint ?? (known === undefined ? undefined : jwkThumbprint(known));
  if (want !== undefined && want !== got) {
    throw new KeydError(
      'issuer_refused',
      `the issuer’s challenge key is ${got}, not the pinned ${want}; if the operator changed it, set issuer.challenge_key`,
    );
  }
  return offered;
}

async function hostPurposeKey(
  backend: KeyBackend,
  purpose: Extract<KeyPurpose, 'host' | 'audit'>,
  keyId: string | undefined,
): Promise<HardwareKey> {
  const known = keyId === undefined ? undefined : await backend.find(keyId);
  if (known !== undefined) return known;
  // A key from an enrolment that did not finish is as good as a new one.
  const unfinished = (await backend.list()).find((key) => key.purpose === purpose);
  return unfinished ?? backend.generate({ keyId: randomUUID(), purpose, algorithm: 'ES256' });
}

async function certified(
  attester: Attester,
  key: HardwareKey,
  extraData: Uint8Array,
): Promise<EnrolEvidence['hostKey']> {
  const { publicArea, attest, signature } = await attester.certify(key.keyId, extraData);
  return { public: publicArea, certify: { attest, sig: signature } };
}

/** A quote in its wire form. */
export async function quote(
  attester: Attester,
  pcrs: readonly number[],
  extraData: Uint8Array,
): Promise<EnrolEvidence['quote']> {
  const made = await attester.quote(toPcrSelection(pcrs), extraData);
  return { attest: made.attest, sig: made.signature, pcrs: made.pcrs };
}
