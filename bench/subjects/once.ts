import type { OnceFigures } from '../figures.ts';
export function measureOnce(): Promise<OnceFigures> {
  return Promise.resolve({});
}
