import { describe, expect, it } from 'vitest';
import { parseResponse, serializeCommand } from '../../../../src/wire/tpm/command.ts';
import { codeOf } from '../../../support/code-of.ts';
import { fromHex, toHex } from './vectors.ts';

const SIGN = { hasHandle: false, hasAuth: true };

describe('TPM commands', () => {
  it('TPM2_FlushContext, and a command with a session, as Part 1 §18 lays them out', () => {
    const flush = serializeCommand({ code: 0x165, handles: [0x02000001], parameters: new Uint8Array() });
    expect(toHex(flush)).toBe('80010000000e0000016502000001');
    const auth = { session: 0x02000000, nonce: Uint8Array.of(1, 2), attributes: 1, hmac: Uint8Array.of(3) };
    const sign = serializeCommand({ code: 0x15d, handles: [0x80000000], auth, parameters: Uint8Array.of(9) });
    expect(toHex(sign)).toBe('80020000001f0000015d80000000' + '0000000c' + '020000000002010201000103' + '09');
  });
});

describe('TPM responses', () => {
  // Parameters abcd; nonce 0102, continueSession, HMAC 03.
  const response = '80020000001800000000' + '00000002abcd' + '0002010201000103';

  it('are taken apart: success with a session, success with a handle, and a refusal', () => {
    const auth = { nonce: fromHex('0102'), attributes: 1, hmac: fromHex('03') };
    expect(parseResponse(fromHex(response), SIGN)).toEqual({
      rc: 0,
      handle: undefined,
      parameters: fromHex('abcd'),
      auth,
    });
    const started = fromHex('80010000001000000000020000000007');
    expect(parseResponse(started, { hasHandle: true, hasAuth: false })).toEqual({
      rc: 0,
      handle: 0x02000000,
      parameters: fromHex('0007'),
      auth: undefined,
    });
    expect(parseResponse(fromHex('80010000000a0000098e'), SIGN)).toEqual({ rc: 0x98e });
  });

  it.each([
    ['nothing', ''],
    ['half a header', '8002000000'],
    ['a size that is not its own', response.replace('00000018', '00000019')],
    ['an octet too many', `${response}00`.replace('00000018', '00000019')],
    ['the tag of a response without sessions', response.replace('8002', '8001')],
    ['the tag of a TPM 1.2', '00c40000000a0000001e'],
    ['a refusal with a session', response.replace('1800000000', '180000098e')],
    ['a refusal with more behind it', '80010000000b0000098e00'],
    ['parameters longer than it', response.replace('00000002abcd', '7fffffffabcd')],
    ['a nonce longer than any hash', response.replace('00020102', '00410102')],
    ['no session', '80020000001000000000' + '00000002abcd'],
  ])('%s is refused', (_, hex) => {
    expect(codeOf(() => parseResponse(fromHex(hex), SIGN))).toBe('malformed_structure');
  });
});
