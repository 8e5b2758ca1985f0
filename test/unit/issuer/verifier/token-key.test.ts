/** Keys in PKCS#11 tokens: no evidence about the key, so everything rests on the host and the registration. */
import { describe, expect, it } from 'vitest';
import { appraiseKey, type KeyAppraisalInput } from '../../../../src/issuer/verifier/appraise-key.ts';
import { attestedData } from '../../../../src/wire/attested-data.ts';
import { issueBound, type IssueRequest } from '../../../../src/wire/issuance/issue.ts';
import { publicAreaName } from '../../../../src/wire/tpm/name.ts';
import { ATTESTED_PCRS } from '../../../../src/wire/tpm/pcr-selection.ts';
import { parsePublicArea } from '../../../../src/wire/tpm/public-area.ts';
import { publicAreaToJwk } from '../../../../src/wire/tpm/public-key.ts';
import { makeSoftwareCsr } from '../../../support/certificates.ts';
import {
  POSED_CLOCK,
  POSED_FIRMWARE,
  posedPcrs,
  posedQuote,
  posingAgentKey,
  posingAk,
  posingSignature,
} from '../../../support/posing-tpm.ts';
import { refusalOf } from '../../../support/refusal.ts';
import {
  challengeFor,
  ENDORSEMENT,
  EXPORTER,
  hostRecord,
  NOW,
  REQUEST,
  vendorPolicy,
} from './posed-scenario.ts';

const ak = posingAk();
const tokenKeys = posingAgentKey();
const jwk = publicAreaToJwk(parsePublicArea(tokenKeys.publicArea));
const token = { manufacturer: 'ACME', model: 'HSM 1', serial: '42' };
const csr = makeSoftwareCsr(tokenKeys);
const akId = Buffer.from(publicAreaName(ak.publicArea)).toString('hex');
const challenge = challengeFor('issue', akId);
const values = posedPcrs(ATTESTED_PCRS);
const quoteData = attestedData('issue-quote', challenge.jws, issueBound(REQUEST, jwk, csr), EXPORTER);
const attest = posedQuote(ak, ATTESTED_PCRS, values, quoteData);

const honest: KeyAppraisalInput = {
  standing: {
    akId,
    akPublic: ak.publicArea,
    ekHash: hostRecord.ekHash,
    endorsement: ENDORSEMENT,
    boot: { ...POSED_CLOCK, firmwareVersion: POSED_FIRMWARE },
    logs: { nvPublic: undefined, witness: undefined },
  },
  standingExpiresAtSeconds: NOW + 60,
  host: { ...hostRecord, tokens: [token] },
  policy: vendorPolicy,
  request: REQUEST,
  issue: {
    session: challenge.claims.session,
    tokenKey: { jwk, token },
    csr,
    quote: { attest, sig: posingSignature(ak, attest), pcrs: values },
  },
  quote: 'required',
  pcrSelection: ATTESTED_PCRS,
  challenge,
  exporter: EXPORTER,
  issuedInLastHour: 0,
  subAgents: undefined,
  nowSeconds: NOW,
};

const refusal = (change: Partial<KeyAppraisalInput>): string =>
  refusalOf(() => appraiseKey({ ...honest, ...change }));
const withIssue = (change: Partial<IssueRequest>): string =>
  refusal({ issue: { ...honest.issue, ...change } });

describe('a key in a registered token of an attested host', () => {
  it('is asserted, under a host that is more', () => {
    const result = appraiseKey(honest);
    expect(result).toMatchObject({
      heldBy: 'token',
      jwk,
      key: { level: 'asserted' },
      host: { level: 'hw-key' },
    });
    expect(result.passed).not.toContain(16);
  });

  it('keeps the boot of the standing where no quote is asked for', () => {
    const issue: IssueRequest = { session: challenge.claims.session, tokenKey: { jwk, token }, csr };
    const result = appraiseKey({ ...honest, quote: 'reuse', issue });
    expect(result.boot).toEqual(honest.standing.boot);
    expect(result.passed).not.toContain(19);
  });

  it.each([
    ['manufacturer', { ...token, manufacturer: 'Acme' }],
    ['model', { ...token, model: 'HSM 2' }],
    ['serial', { ...token, serial: '43' }],
  ])('check 17: refuses a token that differs from the registered one in %s', (_field, other) => {
    expect(withIssue({ tokenKey: { jwk, token: other } })).toMatch(
      /^appraisal_denied: check 17 .*not registered/,
    );
  });

  it('check 17: refuses SoftHSM without a development policy, registered or not', () => {
    const softHsm = { ...token, manufacturer: 'SoftHSM project' };
    const host = { ...hostRecord, tokens: [softHsm] };
    const issue = { ...honest.issue, tokenKey: { jwk, token: softHsm } };
    expect(refusal({ host, issue })).toMatch(/^appraisal_denied: check 17 .*software/);
    const policy = { ...vendorPolicy, development: { name: 'lab' } };
    expect(appraiseKey({ ...honest, host, issue, policy }).key).toMatchObject({
      level: 'software',
      developmentPolicy: 'lab',
    });
  });

  it('check 18: refuses a JWK whose key did not sign the CSR', () => {
    const other = posingAgentKey();
    const otherJwk = publicAreaToJwk(parsePublicArea(other.publicArea));
    const quote = { ...honest.issue, tokenKey: { jwk: otherJwk, token } };
    expect(refusal({ issue: quote })).toMatch(/^evidence_invalid: check 14 /);
    const reuse: IssueRequest = {
      session: challenge.claims.session,
      tokenKey: { jwk: otherJwk, token },
      csr,
    };
    expect(refusal({ quote: 'reuse', issue: reuse })).toMatch(/^evidence_invalid: check 18 .*another key/);
  });

  it('check 1: refuses two keys, and none', () => {
    const tpmKey = { public: tokenKeys.publicArea, certify: { attest, sig: posingSignature(ak, attest) } };
    expect(withIssue({ tpmKey })).toMatch(/^evidence_invalid: check 1 .*exactly one/);
    const { session, quote } = honest.issue;
    expect(refusal({ issue: { session, csr, ...(quote === undefined ? {} : { quote }) } })).toMatch(
      /check 1 /,
    );
  });
});
