/** The field that says what retiring erased. */
import { describe, expect, it } from 'vitest';
import { parseRetirement } from '../../../src/client/retirement.ts';
import { codeOf } from '../../support/code-of.ts';

const FIELD = 'local-copies;statement="a \\"kept\\" copy \\\\ of both; still works"';

describe('parseRetirement', () => {
  it('reads both words and the sentence, escapes undone', () => {
    expect(parseRetirement(FIELD)).toEqual({
      erased: 'local-copies',
      statement: 'a "kept" copy \\ of both; still works',
    });
    expect(parseRetirement('hardware;statement=""')).toEqual({ erased: 'hardware', statement: '' });
  });

  it('S15: takes nothing for granted: absent, unknown, cut anywhere or with something behind', () => {
    const bad = [
      undefined,
      '',
      'hardware',
      'everything;statement="x"',
      `${FIELD};more=1`,
      `${FIELD} `,
      ` ${FIELD}`,
    ];
    for (let length = 0; length < FIELD.length; length += 1) bad.push(FIELD.slice(0, length));
    bad.push('hardware;statement="a"b"', 'hardware;statement="\\n"', 'hardware;statement="é"');
    for (const field of bad)
      expect(
        codeOf(() => parseRetirement(field)),
        String(field),
      ).toBe('internal');
  });
});
