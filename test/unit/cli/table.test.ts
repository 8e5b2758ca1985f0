import { describe as suite, expect, it } from 'vitest';
import { describe, table } from '../../../src/cli/table.ts';

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

suite('describe', () => {
  it('aligns values, indents objects and shows what is absent', () => {
    expect(describe({ name: 'a', host: { state: 'enrolled', label: null }, list: [1, 2], none: [] })).toBe(
      'name  a\nhost\n  state  enrolled\n  label  -\nlist  1, 2\nnone  (none)',
    );
  });
});
