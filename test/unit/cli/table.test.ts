import { describe as suite, expect, it } from 'vitest';
import { shownJson, shownLines } from '../../../src/cli/shown.ts';
import { describe, table } from '../../../src/cli/table.ts';

// Erases the line before, opens a hyperlink, turns the text round, and a line that looks like another answer.
const HOSTILE = 'pay\u001b[1A\u001b[2K\u009b2K\u202e\u{e0001}\nstate  allowed';
const STEERING = /[\p{Cc}\p{Cf}]/u;

suite('table', () => {
  it('aligns columns and leaves no trailing blanks', () => {
    expect(
      table(
        ['NAME', 'KID'],
        [
          ['a-long-name', 'k'],
          ['b', 'kk'],
        ],
      ),
    ).toBe('NAME         KID\na-long-name  k\nb            kk');
  });
});

suite('S12: what a caller chose', () => {
  it('is one cell of a table, and steers no terminal', () => {
    const [, row = '', ...more] = table(['A', 'B'], [['x', HOSTILE]]).split('\n');
    expect(more).toEqual([]);
    expect(row).not.toMatch(STEERING);
  });

  it('makes no member of its own in a description, neither as value nor as key', () => {
    const shown = describe({ path: HOSTILE, [HOSTILE]: 1, list: [HOSTILE], inner: { typ: HOSTILE } });
    for (const line of shown.split('\n')) {
      expect(line).not.toMatch(STEERING);
      expect(line).not.toMatch(/^state/);
    }
  });

  it('is the same value in JSON, without an octet that steers a terminal', () => {
    const json = shownJson({ path: HOSTILE }, 2);
    expect(JSON.parse(json)).toEqual({ path: HOSTILE });
    expect(json.replaceAll('\n', '')).not.toMatch(STEERING);
  });

  it('leaves the lines of other text as they are', () => {
    expect(shownLines('a\nb\u001b[0m\n')).toBe('a\nb\ufffd[0m\n');
  });
});

suite('describe', () => {
  it('aligns values, indents objects and shows what is absent', () => {
    expect(describe({ name: 'a', host: { state: 'enrolled', label: null }, list: [1, 2], none: [] })).toBe(
      'name  a\nhost\n  state  enrolled\n  label  -\nlist  1, 2\nnone  (none)',
    );
  });
});
