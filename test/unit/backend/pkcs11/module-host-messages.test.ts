import { describe, expect, it } from 'vitest';
import {
  algorithmFromOctet,
  algorithmToOctet,
  connectRequest,
  decodeMessage,
  decodeRefusal,
  decodeReturnValue,
  encodeMessage,
  encodeRefusal,
  encodeReturnValue,
  findAnswer,
  generateCommand,
  generatedKey,
  listPage,
  tokenReport,
} from '../../../../src/backend/pkcs11/module-host-messages.ts';
import { ALGORITHMS } from '../../../../src/wire/algorithms.ts';
import type { Shape } from '../../../../src/wire/check.ts';
import { KeydError } from '../../../../src/wire/problem.ts';
import { codeOf } from '../../../support/code-of.ts';

// RFC 7515 A.3.1
const publicJwk = {
  kty: 'EC',
  crv: 'P-256',
  x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
  y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
  alg: 'ES256',
};
const key = {
  keyId: '6f1c2b1e-5d0a-4c39-9a53-0d8b1f0e7a11',
  purpose: 'agent',
  algorithm: 'ES256',
  publicJwk,
};

const messages: readonly (readonly [string, Shape<unknown>, object])[] = [
  ['connectRequest', connectRequest, { module: '/m.so', tokenLabel: 'l', tokenSerial: 's' }],
  [
    'tokenReport',
    tokenReport,
    {
      label: 'l',
      manufacturer: 'm',
      model: 'o',
      serial: 's',
      firmware: '1.0',
      library: 'x 1.0',
      flags: 1069,
      algorithms: ['ES256', 'PS256'],
    },
  ],
  [
    'generateCommand',
    generateCommand,
    { keyId: key.keyId, purpose: 'host', algorithm: 'RS256', rsaModulusBits: 3072 },
  ],
  ['generatedKey', generatedKey, { key, attributes: { CKA_SENSITIVE: true } }],
  ['listPage', listPage, { keys: [key], held: [key.keyId], unreadable: 0, next: 64 }],
  ['findAnswer', findAnswer, { key }],
];

describe('the messages between daemon and module host', () => {
  for (const [name, shape, message] of messages) {
    const octets = encodeMessage(message);

    it(`${name} is read as it was written`, () => {
      expect(decodeMessage(shape, octets)).toEqual(message);
    });

    it(`${name} is refused truncated at every offset, and with a trailing octet`, () => {
      for (let length = 0; length < octets.length; length++) {
        expect(codeOf(() => decodeMessage(shape, octets.subarray(0, length)))).toBe('malformed_structure');
      }
      expect(codeOf(() => decodeMessage(shape, Buffer.concat([octets, Buffer.from('}')])))).toBe(
        'malformed_structure',
      );
    });

    it(`${name} is refused with an unknown, a missing or a repeated member`, () => {
      const text = octets.toString();
      const [first = ''] = Object.keys(message);
      const rest = Object.fromEntries(Object.entries(message).slice(1));
      const wrong = [
        text.replace('{', '{"extra":1,'),
        text.replace('{', `{"${first}":null,`),
        ...(name === 'findAnswer' ? [] : [JSON.stringify(rest)]),
      ];
      for (const document of wrong) {
        expect(codeOf(() => decodeMessage(shape, Buffer.from(document)))).toBe('malformed_structure');
      }
    });
  }

  it('carry no private key, and no public key of another algorithm than they say', () => {
    for (const wrong of [
      { ...key, publicJwk: { ...publicJwk, d: 'AAAA' } },
      { ...key, algorithm: 'ES384' },
      { ...key, purpose: 'everything' },
    ]) {
      expect(codeOf(() => decodeMessage(findAnswer, encodeMessage({ key: wrong })))).toBe(
        'malformed_structure',
      );
    }
  });

  it('tell a refusal by its code, of those a module host may use', () => {
    const read = decodeRefusal(encodeRefusal(new KeydError('conflict', 'taken\0 already')));
    expect([read.code, read.message]).toEqual(['conflict', 'taken  already']);
    expect(decodeRefusal(encodeRefusal(new KeydError('policy_denied', 'x'))).code).toBe('internal');
    for (const wrong of ['', 'conflict', 'policy_denied\0x', 'conflict\0x\0y', 'toString\0x']) {
      expect(codeOf(() => decodeRefusal(Buffer.from(wrong)))).toBe('malformed_structure');
    }
  });

  it('tell a return value and the function that gave it', () => {
    const octets = encodeReturnValue({ rv: 0xa0, call: 'C_Login' });
    const { rv, call } = decodeReturnValue(octets);
    expect([rv, call]).toEqual([0xa0, 'C_Login']);
    for (let length = 0; length < 5; length++) {
      expect(codeOf(() => decodeReturnValue(octets.subarray(0, length)))).toBe('malformed_structure');
    }
    const odd = Buffer.concat([octets, Buffer.of(0)]);
    expect(codeOf(() => decodeReturnValue(odd))).toBe('malformed_structure');
  });

  it('name each algorithm by an octet', () => {
    for (const algorithm of ALGORITHMS)
      expect(algorithmFromOctet(algorithmToOctet(algorithm))).toBe(algorithm);
    for (const octet of [ALGORITHMS.length, 255, undefined]) {
      expect(codeOf(() => algorithmFromOctet(octet))).toBe('malformed_structure');
    }
  });
});
