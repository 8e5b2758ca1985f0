/** Checkpoints: signed notes of the log's size and root, read strictly. */
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  checkpointText,
  parseCheckpoint,
  signedCheckpoint,
  verifyCheckpoint,
} from '../../../src/wire/checkpoint.ts';
import { parsePublicJwk, type PublicJwk } from '../../../src/wire/jwk.ts';
import { codeOf } from '../../support/code-of.ts';

function makeKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
  const jwk: PublicJwk = parsePublicJwk({ kty, crv, x, y, alg: 'ES256' });
  const noteOf = (head: Parameters<typeof checkpointText>[0]): string =>
    signedCheckpoint(
      head,
      jwk,
      sign('sha256', Buffer.from(checkpointText(head)), { key: privateKey, dsaEncoding: 'ieee-p1363' }),
    );
  return { jwk, noteOf };
}

const KEY = makeKey();
const HEAD = { origin: 'agentkeyd/0b6e', size: 4711, root: createHash('sha256').update('root').digest() };
const NOTE = KEY.noteOf(HEAD);

describe('a checkpoint', () => {
  it('is what C2SP tlog-checkpoint and signed-note say, so that others can read it', () => {
    const [origin, size, root, empty, line, ...rest] = NOTE.split('\n');
    expect([origin, size, root, empty, rest]).toEqual([
      HEAD.origin,
      '4711',
      HEAD.root.toString('base64'),
      '',
      [''],
    ]);
    const [dash, name, signature = ''] = (line ?? '').split(' ');
    expect([dash, name]).toEqual(['\u2014', HEAD.origin]);
    const octets = Buffer.from(signature, 'base64');
    const { kty, crv, x, y } = KEY.jwk as Extract<PublicJwk, { kty: 'EC' }>;
    const key = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
    const spki = key.export({ format: 'der', type: 'spki' });
    expect(octets.subarray(0, 4)).toEqual(createHash('sha256').update(spki).digest().subarray(0, 4));
    expect(verify('sha256', Buffer.from(`${NOTE.split('\n\n')[0] ?? ''}\n`), key, octets.subarray(4))).toBe(
      true,
    );
  });

  it('verifies to the head that was signed', () => {
    expect(verifyCheckpoint(NOTE, KEY.jwk)).toEqual(HEAD);
    for (const size of [0, 1, Number.MAX_SAFE_INTEGER]) {
      expect(verifyCheckpoint(KEY.noteOf({ ...HEAD, size }), KEY.jwk).size).toBe(size);
    }
  });

  it('is refused cut at every offset and with anything before or after it', () => {
    for (let end = 0; end < NOTE.length; end += 1) {
      expect(
        codeOf(() => parseCheckpoint(NOTE.slice(0, end))),
        `${end}`,
      ).toBe('malformed_structure');
    }
    for (const other of [
      `${NOTE}\n`,
      `${NOTE} `,
      `\n${NOTE}`,
      ` ${NOTE}`,
      `${NOTE}${NOTE}`,
      `\uFEFF${NOTE}`,
    ]) {
      expect(
        codeOf(() => parseCheckpoint(other)),
        JSON.stringify(other),
      ).toBe('malformed_structure');
    }
  });

  it('is refused with any character changed', () => {
    for (let i = 0; i < NOTE.length; i += 1) {
      const other = NOTE[i] === 'A' ? 'B' : 'A';
      const changed = `${NOTE.slice(0, i)}${other}${NOTE.slice(i + 1)}`;
      expect(
        codeOf(() => verifyCheckpoint(changed, KEY.jwk)),
        JSON.stringify(changed),
      ).toMatch(/^(malformed_structure|signature_invalid)$/);
    }
  });

  it('is refused in other spellings of the same', () => {
    const { origin, root } = HEAD;
    const b64 = root.toString('base64');
    const line = NOTE.split('\n')[4] ?? '';
    for (const other of [
      NOTE.replace('4711', '04711'),
      NOTE.replace('4711', '+4711'),
      NOTE.replace('4711', '4711.0'),
      NOTE.replaceAll('\n', '\r\n'),
      NOTE.replace(b64, root.toString('base64url')),
      NOTE.replace(b64, root.toString('hex')),
      NOTE.replace('\u2014', '-'),
      NOTE.replace(line, `${line}\n${line}`),
      NOTE.replace(line, line.replace(origin, 'agentkeyd/other')),
      NOTE.replaceAll(origin, 'Agentkeyd/0b6e'),
      // The same octets of root and signature, with bits that no octet has.
      NOTE.replace(b64, `${b64.slice(0, 42)}${nextCharacter(b64[42] ?? '')}=`),
    ]) {
      expect(
        codeOf(() => verifyCheckpoint(other, KEY.jwk)),
        JSON.stringify(other),
      ).toBe('malformed_structure');
    }
  });

  it('a size that a double would change is none', () => {
    expect(codeOf(() => parseCheckpoint(NOTE.replace('4711', '9007199254740993')))).toBe(
      'malformed_structure',
    );
  });

  it('is refused by another key, and by one that takes its key id', () => {
    const other = makeKey();
    expect(codeOf(() => verifyCheckpoint(NOTE, other.jwk))).toBe('signature_invalid');
    const foreign = Buffer.from(other.noteOf(HEAD).split(' ')[2] ?? '', 'base64');
    const own = Buffer.from(NOTE.split(' ')[2] ?? '', 'base64');
    const posing = Buffer.concat([own.subarray(0, 4), foreign.subarray(4)]).toString('base64');
    const note = `${checkpointText(HEAD)}\n\u2014 ${HEAD.origin} ${posing}\n`;
    expect(codeOf(() => verifyCheckpoint(note, KEY.jwk))).toBe('signature_invalid');
  });

  it('no origin writes a line of its own into it', () => {
    for (const origin of ['a\nb', '', 'A', 'a b', `a${'b'.repeat(128)}`]) {
      expect(
        codeOf(() => checkpointText({ ...HEAD, origin })),
        origin,
      ).toBe('internal');
    }
  });
});

function nextCharacter(character: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return alphabet[alphabet.indexOf(character) + 1] ?? '';
}
