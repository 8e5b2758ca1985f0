import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  judgeCommandAudit,
  commandAuditMark,
  type CommandAuditVerdict,
} from '../../../../src/wire/command-audit.ts';
import { parseAttest, type CommandAuditAttest } from '../../../../src/wire/tpm/attest.ts';
import {
  extendAuditDigest,
  isSignAudited,
  NO_DIGEST,
  signCommandHash,
  signResponseHash,
} from '../../../../src/wire/tpm/audit-digest.ts';
import { fromHex, toHex } from './vectors.ts';

/** By tpm2-tools 5 on swtpm: two TPM2_Sign between two TPM2_GetCommandAuditDigest, as in tpm2_sign --cphash. */
const TOOLS = {
  cpHash: '96da7cab983c4f6206fd09be36a846de0a117428d15ded93a82a7d35d9d6e82a',
  signatures: [
    '0018000b0020ffaee288ee6c7a623e9a991441a62d028608246907884a8f48d59e3de6147a4d0020362589852c401b9c9916' +
      '292550b32cec30e98b24a9bf5a25b61af2b6967231c4',
    '0018000b002087e2325bb93c65fae075928e341029acd310f8e22429d736186d21146ddedb480020a821d037d10145d50372' +
      '61dd2a675820ea154a818b897dada56d1aa8eaf2e980',
  ],
  attest:
    'ff54434780150022000b9ecc3d300a0cd3c26fb1e6c6b48e2bf32200ec76679f795ce1ff15bb00e56c2e0000000000000000' +
    '04f600000001000000000120191023001636360000000000000002000b00208e7527dabc2d9d98f25aae2cd5629952dfb4ea' +
    '200ca4c89c83734dce3009653a0020a63cf75a885af2c4e93897f2a1210af8c4a9f26749e71e0ce4c2118e69aabd42',
  name: '000b5f89d59acccec373122bf38080ff304d1c511fba700f5831fa3157be56a93004',
  digest: '1805998ec1d76c64cc12968f20e0c3bae784a6c6eb8a25b2b2fe9b8ae75bb3db',
};

function audited(octets: Uint8Array): CommandAuditAttest {
  const attest = parseAttest(octets);
  if (attest.type !== 'command-audit') throw new Error(attest.type);
  return attest;
}

const TAKEN = audited(fromHex(TOOLS.attest));
const before = { ...commandAuditMark(TAKEN), auditCounter: TAKEN.auditCounter - 1n };
const expected = { digest: TAKEN.auditDigest, signed: 2 };
const other = { digest: new Uint8Array(32), signed: 2 };
const none = { digest: NO_DIGEST, signed: 0 };
const shown = ({ effect, reason }: CommandAuditVerdict): string =>
  reason === undefined ? effect : `${effect} ${reason}`;

describe('the audit digest', () => {
  it('is what tpm2-tools had the TPM sign', () => {
    const cpHash = fromHex(TOOLS.cpHash);
    const digest = TOOLS.signatures
      .map((signature) => signResponseHash(fromHex(signature)))
      .reduce((sum, rpHash) => extendAuditDigest(sum, cpHash, rpHash), NO_DIGEST);
    expect(toHex(digest)).toBe(toHex(TAKEN.auditDigest));
    const backwards = TOOLS.signatures
      .toReversed()
      .map((signature) => signResponseHash(fromHex(signature)))
      .reduce((sum, rpHash) => extendAuditDigest(sum, cpHash, rpHash), NO_DIGEST);
    expect(toHex(backwards)).not.toBe(toHex(TAKEN.auditDigest));
  });

  it('has a cpHash over code, Name and parameters; tpm2_sign names the scheme where the daemon leaves it to the key', () => {
    const command = (scheme: string): string =>
      `0000015d${TOOLS.name}0020${TOOLS.digest}${scheme}8024400000070000`;
    const sha256 = (octets: string): string => createHash('sha256').update(fromHex(octets)).digest('hex');
    expect(sha256(command('0018000b'))).toBe(TOOLS.cpHash);
    expect(toHex(signCommandHash(fromHex(TOOLS.name), fromHex(TOOLS.digest)))).toBe(sha256(command('0010')));
  });

  it('counts only where TPM2_Sign is audited by SHA-256 and nothing else is', () => {
    expect(isSignAudited(TAKEN.digestAlg, TAKEN.commandDigest)).toBe(true);
    expect(isSignAudited(0x000d, TAKEN.commandDigest)).toBe(false);
    const others = createHash('sha256').update(fromHex('000001400000015d0000017b')).digest();
    expect(isSignAudited(TAKEN.digestAlg, others)).toBe(false);
  });
});

describe('S16: what the TPM’s command audit says', () => {
  it.each([
    ['match', before, TAKEN, expected],
    ['foreign', before, TAKEN, other],
    ['foreign', before, TAKEN, none],
    ['match', commandAuditMark(TAKEN), { ...TAKEN, auditDigest: NO_DIGEST }, none],
    ['inconclusive taken', before, { ...TAKEN, auditDigest: NO_DIGEST }, expected],
    ['inconclusive taken', before, { ...TAKEN, auditDigest: NO_DIGEST }, none],
    ['inconclusive taken', { ...before, auditCounter: before.auditCounter - 1n }, TAKEN, expected],
    ['inconclusive settings', commandAuditMark(TAKEN), TAKEN, expected],
    ['inconclusive settings', before, { ...TAKEN, commandDigest: new Uint8Array(32) }, expected],
    ['inconclusive settings', before, { ...TAKEN, digestAlg: 0x000d }, expected],
    ['inconclusive reset', { ...before, resetCount: before.resetCount - 1 }, TAKEN, other],
    ['inconclusive reset', { ...before, restartCount: 7 }, TAKEN, other],
    ['inconclusive reset', { ...before, auditCounter: before.auditCounter + 2n }, TAKEN, other],
    ['inconclusive reset', { ...before, qualifiedSigner: new Uint8Array(34) }, TAKEN, expected],
  ] as const)('%s (%#)', (verdict, mark, now, sent) => {
    expect(shown(judgeCommandAudit(mark, now, sent))).toBe(verdict);
  });
});
