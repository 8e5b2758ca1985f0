/** A host that speaks the issuance protocol over a real TPM, step by step, so that tests can spoil any step. */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { ekHashOf } from '../../src/issuer/verifier/appraise-enrolment.ts';
import { activationMessage, attestedData, type AttestedOperation } from '../../src/wire/attested-data.ts';
import { parse } from '../../src/wire/check.ts';
import { contentDigest } from '../../src/wire/content-digest.ts';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
} from '../../src/wire/http-signature.ts';
import {
  ENROL_PATH,
  enrolChallenge,
  EVIDENCE_PATH,
  enrolmentBound,
  enrolmentOctets,
  standing,
  type EnrolChallenge,
  type EnrolEvidence,
  type EnrolRequest,
  type Standing,
} from '../../src/wire/issuance/enrolment.ts';
import {
  HOST_SIGNATURE_COMPONENTS,
  HOST_SIGNATURE_LABEL,
  HOST_SIGNATURE_TAG,
} from '../../src/wire/issuance/host-signature.ts';
import {
  ISSUE_CHALLENGE_PATH,
  ISSUE_PATH,
  issueBound,
  issueChallenge,
  issuedCredentials,
  type CredentialRequest,
  type IssueChallenge,
  type IssueRequest,
  type IssuedCredentials,
} from '../../src/wire/issuance/issue.ts';
import {
  REATTEST_CHALLENGE_PATH,
  reattestChallenge,
  reattestationBound,
  type ReattestChallenge,
  type ReattestEvidence,
} from '../../src/wire/issuance/reattestation.ts';
import type { LogEvidence } from '../../src/wire/issuance/log-evidence.ts';
import { jwkThumbprint, type PublicJwk } from '../../src/wire/jwk.ts';
import { toJson } from '../../src/wire/json-octets.ts';
import type { SfParameters } from '../../src/wire/structured-fields.ts';
import { parseTargetUri } from '../../src/wire/target-uri.ts';
import { publicAreaName } from '../../src/wire/tpm/name.ts';
import { ATTESTED_PCRS } from '../../src/wire/tpm/pcr-selection.ts';
import { parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { publicAreaToJwk } from '../../src/wire/tpm/public-key.ts';
import { parseSignature, signatureToJose } from '../../src/wire/tpm/signature.ts';
import type { AttestedHost, HostKey } from './attested-host.ts';
import { makeCsr } from './certificates.ts';
import type { HostLogs } from './host-logs.ts';
import type { IssuerAnswer, IssuerConnection } from './issuer-connection.ts';
import { ISSUER_URL } from './issuer-fixture.ts';

export interface HostSignatureOptions {
  readonly created?: number;
  readonly nonce?: string;
  readonly keyid?: string;
  readonly tag?: string;
  /** What is signed as the target; the issuer's URL and the path otherwise. */
  readonly targetUri?: string;
  readonly method?: string;
  readonly components?: readonly string[];
  readonly moreParameters?: SfParameters;
  /** Signs instead of the host key. */
  readonly key?: HostKey;
}

export class ProtocolHost {
  readonly host: AttestedHost;
  readonly ak: HostKey;
  readonly hostKey: HostKey;
  readonly auditKey: HostKey;
  /** What the host enrols a counter for, and shows; none where absent. */
  logs: HostLogs | undefined;

  private constructor(host: AttestedHost, ak: HostKey, hostKey: HostKey, auditKey: HostKey) {
    this.host = host;
    this.ak = ak;
    this.hostKey = hostKey;
    this.auditKey = auditKey;
  }

  /** @param host is stopped by who started it: several protocol hosts may share one TPM */
  static async create(host: AttestedHost): Promise<ProtocolHost> {
    return new ProtocolHost(
      host,
      await host.createAk(),
      await host.createAgentKey(),
      await host.createAgentKey(),
    );
  }

  get ekSha256(): string {
    return ekHashOf(this.host.ekPublic);
  }

  get akId(): string {
    return Buffer.from(publicAreaName(this.ak.publicArea)).toString('hex');
  }

  m1(): EnrolRequest {
    return {
      v: 1,
      ek: {
        template: this.host.ekTemplate,
        public: this.host.ekPublic,
        cert: this.host.ekCertificate,
        chain: [],
      },
      ak: { public: this.ak.publicArea },
      tpmInfo: 'swtpm',
    };
  }

  async m3(m1: EnrolRequest, m2: EnrolChallenge, exporter: Uint8Array | undefined): Promise<EnrolEvidence> {
    const secret = await this.host.activate(this.ak, m2.credential);
    const bound = enrolmentBound(m1, this.hostKey.publicArea, this.auditKey.publicArea, this.logs?.nvPublic);
    const extraData = attestedData('enroll', m2.challenge, bound, exporter);
    return {
      session: m2.session,
      proof: createHmac('sha256', secret)
        .update(activationMessage(m2.challenge, enrolmentOctets(m1)))
        .digest(),
      quote: await this.host.quote(this.ak, ATTESTED_PCRS, extraData),
      hostKey: await this.host.certify(this.ak, this.hostKey, extraData),
      auditKey: await this.host.certify(this.ak, this.auditKey, extraData),
      ...(this.logs === undefined ? {} : { nvPublic: this.logs.nvPublic }),
    };
  }

  /** Message A from end to end. */
  async enrol(connection: IssuerConnection): Promise<Standing> {
    const m1 = this.m1();
    const m2 = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(m1))));
    const m3 = await this.m3(m1, m2, connection.exporter());
    return parse(standing, expectOk(await connection.post(EVIDENCE_PATH, json(m3))));
  }

  /** A request with the host key's signature. */
  async signed(
    connection: IssuerConnection,
    path: string,
    value: unknown,
    options: HostSignatureOptions = {},
  ): Promise<IssuerAnswer> {
    const body = json(value);
    return connection.post(path, body, await this.signatureHeaders(path, body, options));
  }

  async signatureHeaders(
    path: string,
    body: string,
    options: HostSignatureOptions = {},
  ): Promise<Record<string, string>> {
    const digest = contentDigest(Buffer.from(body));
    const components = (options.components ?? HOST_SIGNATURE_COMPONENTS).map((name) => component(name));
    const parameters: SfParameters = [
      ['created', options.created ?? Math.floor(Date.now() / 1000)],
      ['nonce', options.nonce ?? randomBytes(16).toString('base64url')],
      ['keyid', options.keyid ?? jwkThumbprint(jwkOf(this.hostKey))],
      ['tag', options.tag ?? HOST_SIGNATURE_TAG],
      ...(options.moreParameters ?? []),
    ];
    const base = signatureBase(components, parameters, {
      method: options.method ?? 'POST',
      target: parseTargetUri(options.targetUri ?? ISSUER_URL + path),
      headers: [['content-digest', digest]],
    });
    const signature = await this.signByKey(options.key ?? this.hostKey, Buffer.from(base));
    return {
      'content-digest': digest,
      'signature-input': signatureInputField(HOST_SIGNATURE_LABEL, components, parameters),
      signature: signatureField(HOST_SIGNATURE_LABEL, signature),
    };
  }

  async challengeForReattestation(connection: IssuerConnection): Promise<ReattestChallenge> {
    const answer = await this.signed(connection, REATTEST_CHALLENGE_PATH, { akId: this.akId });
    return parse(reattestChallenge, expectOk(answer));
  }

  /** Message B from end to end. */
  async reattest(connection: IssuerConnection): Promise<Standing> {
    const opened = await this.challengeForReattestation(connection);
    const answer = await this.signed(connection, EVIDENCE_PATH, await this.b3(opened, connection.exporter()));
    return parse(standing, expectOk(answer));
  }

  async b3(opened: ReattestChallenge, exporter: Uint8Array | undefined): Promise<ReattestEvidence> {
    const bound = reattestationBound(this.akId, opened.session);
    const extraData = attestedData('reattest', opened.challenge, bound, exporter);
    return {
      session: opened.session,
      quote: await this.host.quote(this.ak, ATTESTED_PCRS, extraData),
      ...(await this.#logEvidence(opened, exporter)),
    };
  }

  async #logEvidence(
    { challenge, witness }: ReattestChallenge | IssueChallenge,
    exporter: Uint8Array | undefined,
  ): Promise<LogEvidence> {
    if (this.logs === undefined) return {};
    const data = (bound: Uint8Array): Uint8Array => attestedData('audit', challenge, bound, exporter);
    return { auditCounter: await this.logs.evidence(witness, data) };
  }

  async challengeForIssuance(connection: IssuerConnection, req: CredentialRequest): Promise<IssueChallenge> {
    const answer = await this.signed(connection, ISSUE_CHALLENGE_PATH, { akId: this.akId, req });
    return parse(issueChallenge, expectOk(answer));
  }

  async m7(
    opened: IssueChallenge,
    req: CredentialRequest,
    key: HostKey,
    exporter: Uint8Array | undefined,
  ): Promise<IssueRequest> {
    const csr = await this.csr(key);
    const bound = issueBound(req, key.publicArea, csr);
    const extraData = (op: AttestedOperation): Uint8Array =>
      attestedData(op, opened.challenge, bound, exporter);
    return {
      session: opened.session,
      tpmKey: await this.host.certify(this.ak, key, extraData('issue-certify')),
      csr,
      ...(opened.quote === 'required'
        ? { quote: await this.host.quote(this.ak, ATTESTED_PCRS, extraData('issue-quote')) }
        : {}),
      ...(await this.#logEvidence(opened, exporter)),
    };
  }

  /** Message C from end to end. */
  async issue(
    connection: IssuerConnection,
    req: CredentialRequest,
    key: HostKey,
  ): Promise<IssuedCredentials> {
    const opened = await this.challengeForIssuance(connection, req);
    const m7 = await this.m7(opened, req, key, connection.exporter());
    return parse(issuedCredentials, expectOk(await this.signed(connection, ISSUE_PATH, m7)));
  }

  csr(key: HostKey): Promise<Uint8Array> {
    return makeCsr(key.publicArea, (tbs) => this.host.sign(key, createHash('sha256').update(tbs).digest()));
  }

  /** JOSE signature over `octets` by a key of the TPM. */
  async signByKey(key: HostKey, octets: Uint8Array): Promise<Uint8Array> {
    const signature = await this.host.sign(key, createHash('sha256').update(octets).digest());
    return signatureToJose(parseSignature(new Uint8Array(signature)), parsePublicArea(key.publicArea));
  }
}

export function jwkOf(key: HostKey): PublicJwk {
  return publicAreaToJwk(parsePublicArea(key.publicArea));
}

export function json(value: unknown): string {
  return JSON.stringify(toJson(value));
}

/** The body of a 200. */
export function expectOk(answer: IssuerAnswer): unknown {
  if (answer.status !== 200) throw new Error(`the issuer answered ${answer.status}: ${answer.text}`);
  return answer.json;
}
