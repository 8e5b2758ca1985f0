import { describe, expect, it } from 'vitest';
import { AreaMemory } from '../../../../src/issuer/verifier/area-memory.ts';
import { parsePublicArea } from '../../../../src/wire/tpm/public-area.ts';
import { publicAreaToJwk } from '../../../../src/wire/tpm/public-key.ts';
import { posingAgentKey } from '../../../support/posing-tpm.ts';
import { refusalOf } from '../../../support/refusal.ts';

describe('public areas by their octets', () => {
  it('are parsed once for the same octets, wherever these lie', () => {
    const memory = new AreaMemory();
    const { publicArea } = posingAgentKey();
    const area = memory.parsed(publicArea);
    expect(area).toEqual(parsePublicArea(publicArea));
    expect(memory.parsed(Uint8Array.from(publicArea))).toBe(area);
    expect(publicAreaToJwk(area)).toBe(publicAreaToJwk(memory.parsed(publicArea)));
  });

  it('are another key’s where one octet differs', () => {
    const memory = new AreaMemory();
    const { publicArea } = posingAgentKey();
    const other = Uint8Array.from(publicArea);
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
    expect(memory.parsed(other)).not.toBe(memory.parsed(publicArea));
    expect(publicAreaToJwk(memory.parsed(other))).not.toEqual(publicAreaToJwk(memory.parsed(publicArea)));
  });

  it('are refused each time where they are malformed', () => {
    const memory = new AreaMemory();
    const cut = posingAgentKey().publicArea.slice(0, -1);
    for (let time = 0; time < 2; time += 1) {
      expect(refusalOf(() => memory.parsed(cut))).toMatch(/^malformed_structure/);
    }
  });
});
