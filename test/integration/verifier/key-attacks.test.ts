/** Attacks on issuance and re-attestation with evidence of a real TPM. */
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appraiseKey, type KeyAppraisalInput } from '../../../src/issuer/verifier/appraise-key.ts';
import {
  appraiseReattestation,
  type ReattestationInput,
} from '../../../src/issuer/verifier/appraise-reattestation.ts';
import type { HostStanding } from '../../../src/issuer/verifier/host-standing.ts';
import { attestedData, thirdPartyQuoteData } from '../../../src/wire/attested-data.ts';
import { issueBound, type IssueRequest } from '../../../src/wire/issuance/issue.ts';
import { reattestationBound } from '../../../src/wire/issuance/reattestation.ts';
import { TPMA_OBJECT } from '../../../src/wire/tpm/constants.ts';
import { ATTESTED_PCRS, type PcrSelection } from '../../../src/wire/tpm/pcr-selection.ts';
import { parsePublicArea, serializePublicArea } from '../../../src/wire/tpm/public-area.ts';
import { signingKeyTemplate } from '../../../src/wire/tpm/templates.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { ecKeyPair, makeCsr, makeSoftwareCsr } from '../../support/certificates.ts';
import { posingAgentKey } from '../../support/posing-tpm.ts';
import { refusalOf } from '../../support/refusal.ts';
import {
  createHostKeys,
  csrOf,
  enrolledStanding,
  EXPORTER,
  keyInput,
  NOW,
  reattestationInput,
  REQUEST,
  type HostKeys,
} from './scenario.ts';

let host: AttestedHost;
let keys: HostKeys;
let standing: HostStanding;
let agent: HostKey;
let honest: KeyAppraisalInput;
let honestQuote: ReattestationInput;

beforeAll(async () => {
  host = await AttestedHost.start();
  keys = await createHostKeys(host);
  standing = await enrolledStanding(host, keys);
  agent = await host.createAgentKey();
  honest = await keyInput(host, keys.ak, agent, standing);
  honestQuote = await reattestationInput(host, keys.ak, standing);
});
afterAll(async () => {
  await host.stop();
});

const refusal = (change: Partial<KeyAppraisalInput>): string =>
  refusalOf(() => appraiseKey({ ...honest, ...change }));
const withIssue = (change: Partial<IssueRequest>): string =>
  refusal({ issue: { ...honest.issue, ...change } });
const withRequest = (change: Partial<KeyAppraisalInput['request']>): string =>
  refusal({ request: { ...honest.request, ...change } });
const requoted = (change: Partial<ReattestationInput>): string =>
  refusalOf(() => appraiseReattestation({ ...honestQuote, ...change }));

/** An otherwise honest issuance of a key made from `template`. */
async function issuanceOf(template: Uint8Array): Promise<string> {
  const key = await host.createChild(template);
  const csr = makeSoftwareCsr(ecKeyPair());
  const input = await keyInput(host, keys.ak, key, standing, { csr });
  return refusalOf(() => appraiseKey(input));
}

function templateWith(set: number, clear: number): Uint8Array {
  const area = parsePublicArea(signingKeyTemplate('ES256'));
  return serializePublicArea({ ...area, attributes: (area.attributes | set) & ~clear });
}

describe('check 14: S9: one meaning per signature', () => {
  it('refuses another request, CSR or key under the same statements', async () => {
    expect(refusalOf(() => appraiseKey(honest))).toBe('accepted');
    expect(withRequest({ name: 'pay-2' })).toMatch(/^evidence_invalid: check 14 /);
    expect(withRequest({ ttlSeconds: 3599 })).toMatch(/^evidence_invalid: check 14 /);
    expect(withIssue({ csr: await csrOf(host, agent) })).toMatch(/^evidence_invalid: check 14 /);
  });

  it('refuses the statements of another connection, a relay, and a downgrade to zeros', () => {
    expect(refusal({ exporter: randomBytes(32) })).toMatch(/^evidence_invalid: check 14 /);
    expect(refusal({ exporter: undefined })).toMatch(/^evidence_invalid: check 14 /);
    expect(requoted({ exporter: randomBytes(32) })).toMatch(/^evidence_invalid: check 14 /);
  });

  it('refuses a quote of one operation as that of another', async () => {
    const { quote } = honest.issue;
    const other = await keyInput(host, keys.ak, agent, standing);
    expect(withIssue({ ...(other.issue.quote === undefined ? {} : { quote: other.issue.quote }) })).toMatch(
      /check 14 .*quote/,
    );
    if (quote === undefined) throw new TypeError('the honest run has a quote');
    expect(requoted({ evidence: { ...honestQuote.evidence, quote } })).toMatch(/check 14 .*quote/);
  });

  it('refuses a third party’s quote as re-attestation, whatever nonce the third party chose', async () => {
    const nonces = [randomBytes(32), Buffer.from(honestQuote.challenge?.claims.nonce ?? '', 'base64url')];
    for (const nonce of nonces) {
      const quote = await host.quote(
        keys.ak,
        ATTESTED_PCRS,
        thirdPartyQuoteData('https://issuer.example', nonce),
      );
      expect(requoted({ evidence: { ...honestQuote.evidence, quote } })).toMatch(
        /^evidence_invalid: check 14 /,
      );
    }
  });
});

describe('checks 11, 13: what is signed, and as what', () => {
  it('check 11: refuses a changed bit anywhere in the statement', () => {
    const { certify, public: area } = honest.issue.tpmKey ?? neverMissing();
    for (let at = 0; at < certify.attest.length; at++) {
      const attest = Uint8Array.from(certify.attest, (octet, index) => (index === at ? octet ^ 1 : octet));
      expect(withIssue({ tpmKey: { public: area, certify: { ...certify, attest } } })).toMatch(/check 11 /);
    }
  });

  it('check 11: refuses a statement by another AK of the same TPM', async () => {
    const other = await host.createAk();
    const input = await keyInput(host, other, agent, standing);
    expect(refusalOf(() => appraiseKey(input))).toMatch(/^evidence_invalid: check 11 /);
  });

  it('check 13: refuses a quote as Certify, a Certify as quote, and CertifyCreation', async () => {
    const tpmKey = honest.issue.tpmKey ?? neverMissing();
    const quote = honest.issue.quote ?? neverMissing();
    const asCertify = { ...tpmKey, certify: { attest: quote.attest, sig: quote.sig } };
    expect(withIssue({ tpmKey: asCertify })).toMatch(/check 13 .*0x8018, not 0x8017/);
    const { attest, sig } = tpmKey.certify;
    expect(withIssue({ quote: { attest, sig, pcrs: quote.pcrs } })).toMatch(/check 13 .*0x8017, not 0x8018/);
    const creation = await host.certifyCreation(keys.ak, new Uint8Array(32));
    expect(withIssue({ tpmKey: { ...tpmKey, certify: creation } })).toMatch(/check 13 .*0x801a/);
  });
});

describe('checks 16 and 17: which key', () => {
  it('check 16: refuses the public area of another key under a genuine Certify', async () => {
    // The attacker asks for a software key; the TPM certifies one of its own with that request's extraData.
    const software = posingAgentKey();
    const csr = makeSoftwareCsr(software);
    const lie: HostKey = { publicArea: software.publicArea, load: agent.load };
    const input = await keyInput(host, keys.ak, lie, standing, { csr });
    expect(refusalOf(() => appraiseKey(input))).toMatch(/^evidence_invalid: check 16 /);
  });

  it('check 17: refuses a key that may leave the TPM', async () => {
    const { fixedTPM, fixedParent } = TPMA_OBJECT;
    expect(await issuanceOf(templateWith(0, fixedTPM | fixedParent))).toMatch(
      /check 17 .*not fixedTPM, fixedParent/,
    );
  });

  it('check 17: refuses keys that sign statements or decrypt', async () => {
    expect(await issuanceOf(templateWith(TPMA_OBJECT.restricted, 0))).toMatch(/check 17 .*restricted/);
    const area = parsePublicArea(signingKeyTemplate('ES256'));
    const both = serializePublicArea({
      ...area,
      attributes: area.attributes | TPMA_OBJECT.decrypt,
      scheme: undefined,
    });
    expect(await issuanceOf(both)).toMatch(/check 17 .*decrypt/);
  });

  it('check 17: refuses key types that policy does not name, and takes those that it does', async () => {
    expect(await issuanceOf(signingKeyTemplate('RS256'))).toMatch(
      /check 17 .*RSA-2048 keys are not accepted/,
    );
    const rsa = await host.createChild(signingKeyTemplate('RS256'));
    const input = await keyInput(host, keys.ak, rsa, standing, { csr: makeSoftwareCsr(ecKeyPair()) });
    const policy = { ...input.policy, keyTypes: ['RSA-2048'] as const };
    expect(refusalOf(() => appraiseKey({ ...input, policy }))).toMatch(/check 18 /);
  });

  it('check 17: refuses an unpoliced key where a policy is demanded, and one that can be used around it', async () => {
    const digest = createHash('sha256').update('policy').digest();
    const keyAuthPolicies = [digest];
    expect(refusal({ policy: { ...honest.policy, keyAuthPolicies } })).toMatch(/check 17 .*authPolicy/);
    const withPolicy = async (template: Uint8Array): Promise<string> => {
      const key = await host.createChild(template);
      const input = await keyInput(host, keys.ak, key, standing, { csr: makeSoftwareCsr(ecKeyPair()) });
      return refusalOf(() => appraiseKey({ ...input, policy: { ...input.policy, keyAuthPolicies } }));
    };
    const bypass = { ...parsePublicArea(signingKeyTemplate('ES256')), authPolicy: digest };
    expect(await withPolicy(serializePublicArea(bypass))).toMatch(/check 17 .*userWithAuth/);
  });
});

describe('check 18: proof of possession', () => {
  it('refuses a CSR for another key', async () => {
    const csr = makeSoftwareCsr(ecKeyPair());
    const input = await keyInput(host, keys.ak, agent, standing, { csr });
    expect(refusalOf(() => appraiseKey(input))).toMatch(/^evidence_invalid: check 18 .*another key/);
  });

  it('refuses a CSR with the right key that another key signed', async () => {
    const other = await host.createAgentKey();
    const csr = await makeCsr(agent.publicArea, (tbs) =>
      host.sign(other, createHash('sha256').update(tbs).digest()),
    );
    const input = await keyInput(host, keys.ak, agent, standing, { csr });
    expect(refusalOf(() => appraiseKey(input))).toMatch(/^evidence_invalid: check 18 .*not signed/);
  });

  it('check 1: refuses a CSR cut at any offset', () => {
    const { csr } = honest.issue;
    for (let length = 0; length < csr.length; length++) {
      expect(withIssue({ csr: csr.subarray(0, length) })).toMatch(/^evidence_invalid: check 1 /);
    }
    expect(withIssue({ csr: Buffer.concat([csr, Buffer.from([0])]) })).toMatch(/^evidence_invalid: check 1 /);
  });
});

describe('checks 21 and 22: the quote', () => {
  async function quoted(selection: PcrSelection): Promise<string> {
    const { session } = honestQuote.evidence;
    const jws = honestQuote.challenge?.jws ?? '';
    const extraData = attestedData('reattest', jws, reattestationBound(standing.akId, session), EXPORTER);
    const quote = await host.quote(keys.ak, selection, extraData);
    return requoted({ evidence: { session, quote } });
  }

  it('check 21: refuses a quote over nothing, over fewer PCRs, and of another bank', async () => {
    expect(await quoted(ATTESTED_PCRS)).toBe('accepted');
    expect(await quoted([])).toMatch(/^evidence_invalid: check 21 /);
    expect(await quoted([{ bank: 'sha256', pcrs: [0, 1, 2] }])).toMatch(/^evidence_invalid: check 21 /);
    expect(await quoted([{ bank: 'sha1', pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14] }])).toMatch(
      /check 21 /,
    );
  });

  it('check 22: refuses PCR values that were not quoted, too many and too few', () => {
    const { quote, session } = honestQuote.evidence;
    const [first, ...rest] = quote.pcrs;
    const withPcrs = (pcrs: readonly Uint8Array[]): string =>
      requoted({ evidence: { session, quote: { ...quote, pcrs } } });
    expect(withPcrs([randomBytes(32), ...rest])).toMatch(/^evidence_invalid: check 22 /);
    expect(withPcrs(rest)).toMatch(/^evidence_invalid: check 22 /);
    expect(withPcrs([...quote.pcrs, first ?? neverMissing()])).toMatch(/^evidence_invalid: check 22 /);
  });

  it('check 22: refuses the clean values of before against the quote after an event, and another order', async () => {
    const before = honestQuote.evidence.quote.pcrs;
    await host.extendPcr(14, 'evil');
    const after = await reattestationInput(host, keys.ak, standing);
    expect(refusalOf(() => appraiseReattestation(after))).toBe('accepted');
    const { quote } = after.evidence;
    for (const pcrs of [before, quote.pcrs.toReversed()]) {
      const evidence = { ...after.evidence, quote: { ...quote, pcrs } };
      expect(refusalOf(() => appraiseReattestation({ ...after, evidence }))).toMatch(
        /^evidence_invalid: check 22 /,
      );
    }
  });

  it('refuses statement and signature cut at any offset, and one octet more', () => {
    const { quote, session } = honestQuote.evidence;
    const spoilt = (change: Partial<typeof quote>): string =>
      requoted({ evidence: { session, quote: { ...quote, ...change } } });
    for (let length = 0; length < quote.attest.length; length++) {
      expect(spoilt({ attest: quote.attest.subarray(0, length) })).toMatch(/^evidence_invalid: check 11 /);
    }
    for (let length = 0; length < quote.sig.length; length++) {
      expect(spoilt({ sig: quote.sig.subarray(0, length) })).toMatch(/^evidence_invalid: check 11 /);
    }
    expect(spoilt({ sig: Buffer.concat([quote.sig, Buffer.from([0])]) })).toMatch(/check 11 .*follow/);
    expect(spoilt({ attest: Buffer.concat([quote.attest, Buffer.from([0])]) })).toMatch(/check 11 /);
  });

  it('check 1: refuses a missing quote, and one that nobody asked for', async () => {
    expect(refusal({ quote: 'reuse' })).toMatch(/^evidence_invalid: check 1 .*no quote was asked for/);
    const reuse = await keyInput(host, keys.ak, agent, standing, { quote: 'reuse' });
    expect(refusalOf(() => appraiseKey({ ...reuse, quote: 'required' }))).toMatch(/check 1 .*is missing/);
  });
});

describe('standing and permission', () => {
  it('checks 4, 5 and 7: a root, a model or a host that was struck off gets nothing more', () => {
    expect(refusal({ policy: { ...honest.policy, roots: [] } })).toMatch(/^appraisal_denied: check 4 /);
    expect(refusal({ policy: { ...honest.policy, development: undefined } })).toMatch(
      /^appraisal_denied: check 4 /,
    );
    const models = { minimumRevision: 200, denied: [] };
    expect(requoted({ policy: { ...honest.policy, models } })).toMatch(/^appraisal_denied: check 5 /);
    expect(refusal({ host: undefined })).toMatch(/^host_not_approved: check 7 /);
    expect(refusal({ standingExpiresAtSeconds: NOW })).toMatch(/^appraisal_denied: check 7 .*attest again/);
  });

  it('check 9: refuses a stored AK that has not the Name it is stored under', async () => {
    const other = await host.createAk();
    const wrong = { ...standing, akPublic: other.publicArea };
    expect(refusal({ standing: wrong })).toMatch(/^evidence_invalid: check 9 /);
  });

  it('check 27: an honest device with a greedy request', async () => {
    const greedy = async (request: KeyAppraisalInput['request'], issuedInLastHour = 0): Promise<string> => {
      const bound = issueBound(request, agent.publicArea, honest.issue.csr);
      const data = (op: 'issue-certify' | 'issue-quote'): Uint8Array =>
        attestedData(op, honest.challenge?.jws ?? '', bound, EXPORTER);
      const issue = {
        ...honest.issue,
        tpmKey: await host.certify(keys.ak, agent, data('issue-certify')),
        quote: await host.quote(keys.ak, ATTESTED_PCRS, data('issue-quote')),
      };
      return refusal({ request, issue, issuedInLastHour });
    };
    expect(await greedy({ ...REQUEST, name: 'pay-2' })).toBe('accepted');
    expect(await greedy({ ...REQUEST, name: 'root' })).toMatch(/^name_not_permitted: check 27 .*patterns/);
    expect(await greedy({ ...REQUEST, name: 'pay-1+child' })).toMatch(
      /^name_not_permitted: check 27 .*sub-agent/,
    );
    expect(await greedy({ ...REQUEST, ttlSeconds: 3601 })).toMatch(/^name_not_permitted: check 27 .*3600 s/);
    expect(await greedy({ ...REQUEST, creds: ['aauth'] })).toMatch(/^name_not_permitted: check 27 .*aauth/);
    expect(await greedy(REQUEST, 100)).toMatch(/^name_not_permitted: check 27 .*100 issuances/);
  });
});

function neverMissing(): never {
  throw new TypeError('the honest run has it');
}
