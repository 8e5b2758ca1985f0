import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig, type DaemonConfig } from '../../../src/daemon/config.ts';
import { localHost, type ConfigHost } from '../../../src/daemon/config-host.ts';
import { parseFlags } from '../../../src/daemon/flags.ts';
import { defaultProtection } from '../../../src/daemon/hardware.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let temp: TempDir;
let secret: string;

beforeAll(async () => {
  temp = await makeTempDir();
  secret = join(temp.path, 'secret');
  await writeFile(secret, Buffer.alloc(32, 7), { mode: 0o600 });
});

afterAll(() => temp.remove());

const HOST: ConfigHost = {
  groupId: (name) => ({ clients: 100, admin: 101 })[name],
  credentialPath: (name) => `/credentials/${name}`,
  fileFault: () => undefined,
  secretFault: () => undefined,
};

const MINIMAL = '[secret]\nfile = "/s"\n[tpm]\ntcti = "device:/dev/tpmrm0"\n';

async function load(
  text: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
  host = HOST,
): Promise<DaemonConfig> {
  const file = join(temp.path, 'agentkeyd.toml');
  await writeFile(file, text);
  return loadConfig(parseFlags(['--config', file, ...args]), env, host);
}

async function faults(text: string, args: readonly string[] = [], host = HOST): Promise<readonly string[]> {
  try {
    await load(text, args, {}, host);
  } catch (error) {
    if (error instanceof KeydError && error.code === 'configuration_invalid') return error.faults ?? [];
    throw error;
  }
  return [];
}

test('the least there can be has safe defaults', async () => {
  const config = await load(MINIMAL);
  expect(config.shared).toEqual({ path: '/run/agentkeyd/agentkeyd.sock', mode: 0o660 });
  expect(config.admin).toEqual({ path: '/run/agentkeyd-admin/agentkeyd.sock', mode: 0o660 });
  expect(config.stateDirectory).toBe('/var/lib/agentkeyd');
  expect(config.policy).toMatchObject({
    create: [],
    roles: { operate: [], approve: [], policy: [] },
    allowRaw: [],
    quote: [],
  });
  expect([config.foreignUids, config.agentSockets, config.issuer]).toEqual([[], undefined, undefined]);
});

test('flags count over the environment, the environment over the file', async () => {
  const text = `[state]\ndirectory = "/file"\n${MINIMAL}`;
  const env = { AGENTKEYD_STATE_DIRECTORY: '/env', STATE_DIRECTORY: '/unit', AGENTKEYD_SOCKET: '/env.sock' };
  expect((await load(text, ['--state-directory', '/flag'], env)).stateDirectory).toBe('/flag');
  expect((await load(text, [], env)).stateDirectory).toBe('/env');
  expect((await load(text, [], { STATE_DIRECTORY: '/unit' })).stateDirectory).toBe('/file');
  expect((await load(MINIMAL, [], { STATE_DIRECTORY: '/unit' })).stateDirectory).toBe('/unit');
  expect((await load(text, [], env)).shared.path).toBe('/env.sock');
  expect((await load(text, ['--socket', '/flag.sock'], env)).shared.path).toBe('/flag.sock');
  expect((await load(MINIMAL, ['--tcti', 'swtpm:path=/x'])).tpm?.tcti).toBe('swtpm:path=/x');
});

test('S15: sessions to a device are salted unless configured otherwise; a simulator has no bus', async () => {
  expect(defaultProtection('device:/dev/tpmrm0')).toBe('salted');
  expect(defaultProtection('tabrmd:')).toBe('salted');
  expect(defaultProtection('swtpm:path=/x')).toBe('password');
  const text = `${MINIMAL}session_protection = "password"\n`;
  expect((await load(text)).tpm?.session_protection).toBe('password');
});

test('every fault is told at once, from all sections, with the file’s name', async () => {
  const text = `
surplus = 1
[sockets]
shared = "relative"
admin_mode = "660"
shared_group = "nobody-knows"
agents = ["worker-*"]
[secret]
credential = "a"
file = "/b"
[log]
level = "loud"
[limits]
queue = 0
[pkcs11]
module = "/m.so"
pin = { file = "/pin" }
[issuer]
url = "http://issuer.example/path"
[policy]
unknown_rule = true
[[policy.create]]
names = ["*"]
`;
  const told = await faults(text);
  for (const expected of [
    /surplus is not a known member/,
    /sockets\.shared must be an absolute path/,
    /sockets\.admin_mode must be a mode/,
    /sockets\.shared_group names a group that this host does not have: nobody-knows/,
    /secret must have exactly one of credential and file/,
    /log\.level must be one of/,
    /limits\.queue must be an integer from 1/,
    /pkcs11 must name the token by token_label or token_serial/,
    /issuer\.url must be https/,
    /policy\.unknown_rule is not a known member/,
    /policy\.create\[0\] must name at least one of/,
  ]) {
    expect(
      told.some((fault) => expected.test(fault)),
      String(expected),
    ).toBe(true);
  }
  expect(told.every((fault) => fault.includes('agentkeyd.toml: '))).toBe(true);
});

test.each([
  ['no hardware', '[secret]\nfile = "/s"\n', /neither \[tpm\] nor \[pkcs11\]/],
  ['no secret', '[tpm]\ntcti = "device:/dev/tpmrm0"\n', /secret is missing/],
  [
    'an issuer without a TPM',
    '[secret]\nfile = "/s"\n[pkcs11]\nmodule = "/m"\ntoken_label = "x"\npin = { file = "/p" }\n[issuer]\nurl = "https://i"\n',
    /\[issuer\] needs \[tpm\]/,
  ],
  ['agent sockets without a place', `${MINIMAL}[sockets]\nagents = ["*"]\n`, /come together/],
  [
    'half a user for module hosts',
    `${MINIMAL}[pkcs11]\nmodule = "/m"\ntoken_label = "x"\nuser = 5\npin = { file = "/p" }\n`,
    /user and group, or neither/,
  ],
  ['an unknown TCTI', '[secret]\nfile = "/s"\n[tpm]\ntcti = "telnet:host"\n', /tpm\.tcti/],
  ['TOML that is none', '[secret\n', /line 1/],
  ['a key twice', '[secret]\nfile = "/s"\nfile = "/t"\n', /line 3/],
])('%s is a fault', async (_what, text, expected) => {
  expect((await faults(text)).join('\n')).toMatch(expected);
});

test('groups become gids, by name or number', async () => {
  const config = await load(`${MINIMAL}[sockets]\nshared_group = "clients"\nadmin_group = "admin"\n`);
  expect([config.shared.gid, config.admin.gid]).toEqual([100, 101]);
  expect(localHost({}).groupId('root')).toBe(0);
  expect(localHost({}).groupId('4711')).toBe(4711);
  expect(localHost({}).groupId('no such group')).toBeUndefined();
});

test('a secret is a file that nobody else may read, or a credential of the unit', async () => {
  const text = (source: string): string => `[secret]\n${source}\n[tpm]\ntcti = "device:/dev/tpmrm0"\n`;
  const real = localHost({});
  expect(await faults(text(`file = "${secret}"`), [], real)).toEqual([]);
  await chmod(secret, 0o640);
  expect((await faults(text(`file = "${secret}"`), [], real)).join()).toMatch(/mode 640.*chmod 0600/);
  await chmod(secret, 0o600);
  expect((await faults(text('file = "/nonexistent"'), [], real)).join()).toMatch(
    /can not be read \(ENOENT\)/,
  );
  expect((await faults(text('credential = "x"'), [], real)).join()).toMatch(
    /CREDENTIALS_DIRECTORY is not set/,
  );
  const short = join(temp.path, 'short');
  await writeFile(short, 'x'.repeat(31), { mode: 0o600 });
  expect((await faults(text(`file = "${short}"`), [], real)).join()).toMatch(/31 octets; 32 to 4096/);
  const credentials = join(temp.path, 'credentials');
  await mkdir(credentials);
  await writeFile(join(credentials, 'x'), Buffer.alloc(32), { mode: 0o440 });
  const unit = localHost({ CREDENTIALS_DIRECTORY: credentials });
  expect(await faults(text('credential = "x"'), [], unit)).toEqual([]);
  expect((await faults(text('credential = "../secret"'), [], unit)).join()).toMatch(/secret\.credential/);
});

test('a file that was named must be there', async () => {
  expect(codeOf(() => loadConfig(parseFlags(['--config', '/nonexistent.toml']), {}, HOST))).toBe(
    'configuration_invalid',
  );
  expect(codeOf(() => loadConfig(parseFlags([]), { AGENTKEYD_CONFIG: '/nonexistent.toml' }, HOST))).toBe(
    'configuration_invalid',
  );
  await Promise.resolve();
});

test.each([['--bogus'], ['positional'], ['--socket'], ['--log-level', 'loud'], ['--help=yes']])(
  'the command line %j is refused',
  (...args) => {
    expect(codeOf(() => parseFlags(args))).toBe('malformed_request');
  },
);

test('whatever the file says, it is a configuration or a list of faults', async () => {
  const key = fc.constantFrom('sockets', 'secret', 'tpm', 'policy', 'issuer', 'x', 'limits');
  const value = fc.constantFrom(
    '1',
    '"x"',
    '[]',
    '{}',
    'true',
    '-1',
    '1e400',
    '"\\u0000"',
    '[[1]]',
    '1979-05-27',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(key, value), { maxLength: 6 }), async (lines) => {
      const text = lines.map(([name, given]) => `${name} = ${given}\n`).join('');
      expect((await faults(text)).length).toBeGreaterThan(0);
    }),
    { numRuns: 60 },
  );
});

test('a file cut off anywhere is a configuration or a list of faults', async () => {
  const text = `${MINIMAL}[policy]\nallow_raw = ["a"]\n[[policy.create]]\nuids = [1]\nnames = ["*"]\n`;
  for (let length = 0; length < text.length; length += 1) {
    await expect(faults(text.slice(0, length))).resolves.toBeInstanceOf(Array);
  }
});

const REFERENCE = new URL('../../../systemd/agentkeyd.toml', import.meta.url);

test('the reference file is good as it stands', async () => {
  const config = await load(await readFile(REFERENCE, 'utf8'));
  expect(config.secret.path).toBe('/credentials/agentkeyd.secret');
  expect(config.policy.roles.operate).toEqual([{ uids: [0] }]);
});

/** The reference file with what is commented out put in force. */
function uncommented(text: string): string {
  return text.replace(/^# (?=(?:[a-z_0-9]+ = |\[))/gm, '');
}

test('every key that the reference file shows commented out is a key, with a value that may stand', async () => {
  const host: ConfigHost = { ...HOST, groupId: () => 1 };
  const text = uncommented(await readFile(REFERENCE, 'utf8'))
    .replace(/^file = "\/etc\/agentkeyd\/secret".*$/m, '')
    // The other way to the decision point: with a socket the url has no host of its own.
    .replace(/^socket = "\/run\/opa\/.*$/m, '')
    .replace('challenge_key = "..."', `challenge_key = "${'A'.repeat(43)}"`);
  const config = await load(text, [], {}, host);
  expect(config.issuer?.url).toBe('https://issuer.example:8443');
  expect(config.pkcs11?.token_label).toBe('agents');
  expect(config.agentSockets?.agents).toEqual(['worker-*']);
  expect(config.policy.create).toHaveLength(1);
});

test('the defaults that the reference file shows are the defaults', async () => {
  const host: ConfigHost = { ...HOST, groupId: () => undefined };
  const text = await readFile(REFERENCE, 'utf8');
  const limits = /^\[limits\]\n([^[]*)/m.exec(text)?.[1] ?? '';
  expect(limits).toContain('# drain_seconds = 20');
  const shown = await load(`${MINIMAL}[limits]\n${uncommented(limits)}`, [], {}, host);
  const plain = await load(MINIMAL, [], {}, host);
  expect(shown).toEqual(plain);
});

test('the documentation names every key of the reference file', async () => {
  const documentation = await readFile(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
  const keys = [...(await readFile(REFERENCE, 'utf8')).matchAll(/^(?:# )?([a-z_0-9]+) = /gm)].map(
    ([, key]) => key,
  );
  expect(keys.length).toBeGreaterThan(50);
  expect(keys.filter((key) => !documentation.includes(`\`${key ?? ''}\``))).toEqual([]);
});

test('a decision point has a deadline, a path and a way to it', async () => {
  const point = async (section: string) =>
    (await load(`${MINIMAL}[policy.decision_point]\n${section}`)).policySet.decisionPoint;
  expect((await load(MINIMAL)).policySet.decisionPoint).toBeUndefined();
  expect(await point('url = "https://pdp.example"')).toEqual({
    url: 'https://pdp.example/access/v1/evaluation',
    socketPath: undefined,
    caFile: undefined,
    token: undefined,
    deadlineMs: 250,
    documents: ['body', 'query', 'claims'],
    headers: [],
  });
  expect(
    await point(`socket = "/run/opa.sock"
url = "http://localhost/v0/data/agentkeyd/response"
token = { file = "/t" }
deadline_ms = 40
documents = ["claims"]
headers = ["x-tenant"]`),
  ).toEqual({
    url: 'http://localhost/v0/data/agentkeyd/response',
    socketPath: '/run/opa.sock',
    caFile: undefined,
    token: { path: '/t' },
    deadlineMs: 40,
    documents: ['claims'],
    headers: ['x-tenant'],
  });
  expect((await point('socket = "/run/opa.sock"'))?.url).toBe('http://localhost/access/v1/evaluation');
});

test('what is wrong with a decision point is told at once', async () => {
  const told = await faults(`${MINIMAL}[policy.decision_point]
url = "http://pdp.example/"
socket = "opa.sock"
token = { file = "/t", credential = "t" }
deadline_ms = 0
documents = ["headers"]
headers = ["authorization", "X-Tenant"]
timeout_ms = 5
`);
  for (const expected of [
    /decision_point\.url must be an https URL, or http to a loopback address/,
    /decision_point\.socket must be an absolute path/,
    /decision_point\.token must have exactly one of credential and file/,
    /decision_point\.deadline_ms must be an integer from 1 to 10000/,
    /decision_point\.documents\[0\] must be one of body, query, claims/,
    /decision_point\.headers\[0\] holds secrets or tokens, and is never sent/,
    /decision_point\.headers\[1\] must be a field name in lower case/,
    /decision_point\.timeout_ms is not a known member/,
  ]) {
    expect(
      told.some((fault) => expected.test(fault)),
      String(expected),
    ).toBe(true);
  }
});

test.each([
  ['deadline_ms = 9', /must have url, socket or both/],
  ['url = "https://a.example"\nsocket = "/s"', /url must be http where there is a socket/],
  ['url = "http://localhost"\nca_file = "/ca"', /ca_file is of use with an https url only/],
  ['url = "http://u:p@localhost/"', /without credentials and fragment/],
  ['url = "https://a.example/#x"', /without credentials and fragment/],
  ['url = "http://localhost.example/"', /loopback/],
  ['url = "file:///etc/passwd"', /https URL/],
])('the decision point %j is a fault', async (section, expected) => {
  expect((await faults(`${MINIMAL}[policy.decision_point]\n${section}\n`)).join('\n')).toMatch(expected);
});
