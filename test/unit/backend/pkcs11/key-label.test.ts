import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  formatKeyLabel,
  KEY_PURPOSES,
  keyIdFromOctets,
  keyIdToOctets,
  parseKeyLabel,
} from '../../../../src/backend/pkcs11/key-label.ts';
import { ALGORITHMS } from '../../../../src/wire/algorithms.ts';
import { codeOf } from '../../../support/code-of.ts';

const keyId = '6f1c2b1e-5d0a-4c39-9a53-0d8b1f0e7a11';

describe('key ids and labels on a token', () => {
  it('id: the 16 octets of the UUID, there and back', () => {
    expect(keyIdToOctets(keyId).toString('hex')).toBe('6f1c2b1e5d0a4c399a530d8b1f0e7a11');
    for (let round = 0; round < 50; round++) {
      const id = randomUUID();
      expect(keyIdFromOctets(keyIdToOctets(id))).toBe(id);
    }
  });

  it('id: nothing but a lower-case UUID', () => {
    for (const wrong of [
      '',
      keyId.toUpperCase(),
      keyId.replaceAll('-', ''),
      ` ${keyId}`,
      `${keyId}\n`,
      'x'.repeat(36),
    ]) {
      expect(codeOf(() => keyIdToOctets(wrong))).toBe('malformed_request');
    }
    for (const length of [0, 15, 17]) expect(keyIdFromOctets(Buffer.alloc(length))).toBeUndefined();
  });

  it('label: names program, purpose, algorithm and key, and is read as written', () => {
    for (const purpose of KEY_PURPOSES) {
      for (const algorithm of ALGORITHMS) {
        const label = { keyId, purpose, algorithm };
        expect(formatKeyLabel(label)).toBe(`agentkeyd:${purpose}:${algorithm}:${keyId}`);
        expect(parseKeyLabel(formatKeyLabel(label), keyId)).toEqual(label);
        const text = formatKeyLabel(label);
        for (let length = 0; length < text.length; length++) {
          expect(parseKeyLabel(text.slice(0, length), keyId)).toBeUndefined();
        }
      }
    }
  });

  it('label: whatever is not exactly ours is somebody else’s', () => {
    for (const text of [
      `agentkeyd:agent:ES256:${keyId}:`,
      `agentkeyd:agent:ES256:${keyId} `,
      `agentkeyd:admin:ES256:${keyId}`,
      `agentkeyd:agent:HS256:${keyId}`,
      `agentkeyd:agent:toString:${keyId}`,
      `Agentkeyd:agent:ES256:${keyId}`,
      `agentkeyd:agent:ES256:${randomUUID()}`,
    ]) {
      expect(parseKeyLabel(text, keyId)).toBeUndefined();
    }
  });
});
