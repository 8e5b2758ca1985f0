/** `npm run demo` is what a newcomer sees first: all of it passes, and the exit status says so. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { descendants, end, leftAfter } from '../support/sandbox.ts';

const ROOT = join(import.meta.dirname, '..', '..');

// It imports `agentkeyd/client` as its readers will, which is what ships: dist/.
it.runIf(process.env['AGENTKEYD_TEST_DIST'] === '1')(
  'the demo passes every step, says so in its last line and status, and leaves nothing running',
  async () => {
    const child = spawn(process.execPath, [join(ROOT, 'scripts', 'demo', 'main.ts')], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    let started: ReturnType<typeof descendants> = [];
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (text.includes('\n7. ')) started = descendants(child.pid ?? 0);
      });
    }
    const timer = setTimeout(() => void end(child, 'SIGTERM'), 150_000);
    try {
      const [code] = (await once(child, 'close')) as [number | null];
      const last = said.trimEnd().split('\n').at(-1) ?? '';
      expect(last, said).toMatch(/^demo: \d+ passed, 0 failed$/);
      expect(Number(/\d+/.exec(last)?.[0])).toBeGreaterThanOrEqual(42);
      expect(code).toBe(0);
      for (const words of [
        'enrolled',
        'openssl verify',
        'jose',
        'one octet of the body',
        'raw digest',
        'not restricted',
        '3,000.00 to this payee is signed',
        'limit_reached',
        'delegation_refused',
        'the chain is verified offline',
        'budget_exceeded',
        'once, when the clerk is revoked',
        'a token was revoked',
        'the entry stands in the signed log',
      ])
        expect(said).toContain(words);
      expect(started.length).toBeGreaterThan(4);
      expect(await leftAfter(started, 10_000)).toEqual([]);
    } finally {
      clearTimeout(timer);
      await end(child, 'SIGKILL');
    }
  },
  180_000,
);
