/** Which build of our programs is started: dist/ where asked for, else the sources as they are. */
import { join } from 'node:path';

export type Program = 'daemon' | 'issuer' | 'cli';

const ROOT = join(import.meta.dirname, '..', '..');

/** File for node to run. `npm test`, `npm run demo` and `npm run sandbox` set AGENTKEYD_TEST_DIST=1: what ships. */
export function programFile(program: Program): string {
  return process.env['AGENTKEYD_TEST_DIST'] === '1'
    ? join(ROOT, 'dist', program, 'main.js')
    : join(ROOT, 'src', program, 'main.ts');
}
