import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/valgrind.sh', import.meta.url));
const TIMEOUT_MS = 180_000;

// One block that is lost, and a decision that depends on memory nobody wrote.
const FAULTY = `
#include <node_api.h>
#include <stdlib.h>
static napi_value lose(napi_env env, napi_callback_info info) {
  (void)info;
  volatile char* lost = malloc(77);
  napi_value result;
  if (lost[3] > 0) env = NULL;
  if (napi_get_undefined(env, &result) != napi_ok) return NULL;
  lost = NULL;
  return result;
}
NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "lose", NAPI_AUTO_LENGTH, lose, NULL, &function);
  napi_set_named_property(env, exports, "lose", function);
  return exports;
}
`;

function valgrind(...args: string[]): { readonly status: number | null; readonly stdout: string } {
  const result = spawnSync(SCRIPT, args, { encoding: 'utf8', timeout: TIMEOUT_MS });
  return { status: result.status, stdout: result.stdout };
}

describe('valgrind', () => {
  let temp: TempDir;

  beforeAll(async () => {
    temp = await makeTempDir();
  });
  afterAll(() => temp.remove());

  it('finds no error and no definite leak in our addons', { timeout: TIMEOUT_MS }, () => {
    const { status, stdout } = valgrind();
    expect(stdout).toMatch(/^done\nvalgrind: 0 in our addons, \d+ elsewhere\n$/);
    expect(status).toBe(0);
  });

  it.each(['esys', 'verify'])('would find a leak in %s', { timeout: TIMEOUT_MS }, (name) => {
    const include = join(dirname(process.execPath), '..', 'include', 'node');
    const directory = join(temp.path, name);
    mkdirSync(directory);
    const [source, addon] = [join(directory, 'faulty.c'), join(directory, `${name}.node`)];
    writeFileSync(source, FAULTY);
    execFileSync('cc', ['-shared', '-fPIC', '-g', `-I${include}`, '-o', addon, source]);
    const program = join(directory, 'program.cjs');
    writeFileSync(program, `require('./${name}.node').lose(); console.log('done');\n`);
    const { status, stdout } = valgrind(program);
    expect(stdout).toContain('77 bytes in 1 blocks are definitely lost');
    expect(stdout).toContain('<kind>UninitCondition</kind>');
    expect(stdout).toMatch(/valgrind: [1-9]\d* in our addons/);
    expect(status).toBe(1);
  });
});
