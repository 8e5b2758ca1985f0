/** `agentkey` as a person and as a script meet it, against a whole sandbox. */
import { spawn } from 'node:child_process';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { programFile } from '../../scripts/sandbox/programs.ts';
import type { AgentView } from '../../src/client/index.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let sandbox: TestSandbox;
beforeAll(async () => {
  sandbox = await startSandbox();
}, 120_000);
afterAll(() => sandbox.remove(), 60_000);

interface Settings {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

async function agentkeyWith(settings: Settings, ...args: string[]): Promise<Ended> {
  const { socket, adminSocket } = sandbox.description;
  const child = spawn(process.execPath, [programFile('cli'), ...args], {
    env: {
      PATH: process.env['PATH'],
      AGENTKEYD_SOCKET: socket,
      AGENTKEYD_ADMIN_SOCKET: adminSocket,
      ...settings.env,
    },
    stdio: 'pipe',
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  child.stdin.on('error', () => undefined); // who does not read it need not
  child.stdin.end(settings.input ?? '');
  const timer = setTimeout(() => child.kill('SIGKILL'), 40_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, out, err };
}

function agentkey(...args: string[]): Promise<Ended> {
  return agentkeyWith({}, ...args);
}

/** Standard output of a command that has to succeed and say nothing on standard error. */
async function told(...args: string[]): Promise<string> {
  const { code, out, err } = await agentkey(...args);
  expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' });
  return out;
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await told('--json', ...args)) as T;
}

async function refused(
  ...args: string[]
): Promise<{ code: number | null; problem: Record<string, unknown> }> {
  const { code, out, err } = await agentkey('--json', ...args);
  expect(out, args.join(' ')).toBe('');
  return { code, problem: JSON.parse(err) as Record<string, unknown> };
}

describe('agentkey', { timeout: 120_000 }, () => {
  it('tells the state of daemon and host', async () => {
    expect(await told('status')).toMatch(/^state +ready$/m);
    expect(await json('status')).toMatchObject({ state: 'ready', host: { state: 'enrolled' } });
    expect(await told('host', 'status')).toMatch(/^label +sandbox-host$/m);
    expect(await json('host', 'status')).toMatchObject({ state: 'enrolled', assurance: 'software' });
  });

  it('creates, lists, shows, rotates and retires an agent, and says what was erased', async () => {
    for (const [backend, algorithm, erased] of [
      ['tpm', 'ES256', 'local-copies'],
      ['pkcs11', 'Ed25519', 'hardware'],
    ] as const) {
      const name = `life-${backend}`;
      const made = await json<AgentView>(
        'agent',
        'create',
        name,
        '--backend',
        backend,
        '--algorithm',
        algorithm,
      );
      expect(made).toMatchObject({ name, backend, algorithm });
      expect(await calculateJwkThumbprint({ ...made.publicJwk })).toBe(made.kid);

      expect(await told('agent', 'list')).toMatch(new RegExp(`^${name} +${backend} +${algorithm} +`, 'm'));
      const { agents } = await json<{ agents: AgentView[] }>('agent', 'list', '--admin');
      expect(agents.find(({ id }) => id === made.id)?.kid).toBe(made.kid);
      expect(await told('agent', 'show', name)).toContain(`spiffe://sandbox.test/agent/sandbox-host/${name}`);
      expect((await json<AgentView>('agent', 'show', made.id)).kid).toBe(made.kid);

      const rotated = await json<AgentView>('agent', 'rotate', name, '--reason', 'compromise');
      expect(rotated).toMatchObject({ id: made.id, name });
      expect(rotated.kid).not.toBe(made.kid);

      const retired = await told('agent', 'retire', name, ...(backend === 'tpm' ? [] : ['--admin']));
      expect(retired).toContain(`${name} is retired (erased: ${erased}).\n`);
      expect(retired).toMatch(
        erased === 'hardware' ? /token/ : /copy of both .* can still use the key on this TPM/,
      );
      expect(await refused('agent', 'show', name)).toMatchObject({
        code: 4,
        problem: { code: 'agent_not_found' },
      });
      expect(await refused('agent', 'create', name)).toMatchObject({
        code: 1,
        problem: { code: 'name_in_use' },
      });
    }
    await told('agent', 'create', 'short-lived');
    expect(await json('agent', 'retire', 'short-lived')).toMatchObject({
      retired: 'short-lived',
      erased: 'local-copies',
      statement: expect.stringContaining('TPM2_Clear') as string,
    });
  });

  it('creates for another owner over the admin socket', async () => {
    const made = await json<AgentView>('agent', 'create', 'theirs', '--admin', '--owner', '12345');
    expect(made.ownerUid).toBe(12345);
    expect(await refused('agent', 'show', 'theirs')).toMatchObject({ code: 1, problem: { status: 403 } });
    expect((await agentkey('agent', 'retire', 'theirs', '--admin')).code).toBe(0);
  });

  it('signs every type, as lines and as JSON', async () => {
    const { publicJwk } = await json<AgentView>('agent', 'create', 'signer');
    const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' });
    await told('credential', 'renew', 'signer');

    const http = ['sign', 'http', 'signer', 'POST', 'https://api.example/pay'];
    const body = join(sandbox.dir, 'body.json');
    await writeFile(body, '{"a":1}');
    const lines = await told(
      ...http,
      '-H',
      'Content-Type: application/json',
      '-d',
      `@${body}`,
      '--tag',
      'shop',
    );
    expect(lines).toMatch(/^signature: sig=:[A-Za-z0-9+/=]+:$/m);
    expect(lines).toMatch(/^signature-input: .*"content-digest".*;tag="shop"/m);
    const fromInput = await agentkeyWith({ input: '{"a":1}' }, '--json', ...http, '-d', '@-');
    const digest = (JSON.parse(fromInput.out) as Record<string, string>)['content-digest'] ?? '';
    expect(lines).toContain(`content-digest: ${digest}\n`);
    expect(await told(...http, '--profile', 'aauth', '-d', '')).toMatch(/^signature-key: /m);
    expect(await told(...http, '-c', '@authority', '--nonce', 'c-1')).toMatch(/"@authority"/);

    const token = join(sandbox.dir, 'access-token');
    await writeFile(token, 'opaque\n');
    const proof = (
      await told('sign', 'dpop', 'signer', 'GET', 'https://api.example/r', '--access-token', `@${token}`)
    ).trim();
    expect(decodeProtectedHeader(proof).typ).toBe('dpop+jwt');
    expect(decodeJwt(proof)['ath']).toBe(createHash('sha256').update('opaque').digest('base64url'));

    const { jwt } = await json<{ jwt: string }>('sign', 'jwt', 'signer', 'order+jwt', '{"item":7}');
    const [head = '', payload = '', signature = ''] = jwt.split('.');
    const octets = Buffer.from(signature, 'base64url');
    expect(
      verify('sha256', Buffer.from(`${head}.${payload}`), { key, dsaEncoding: 'ieee-p1363' }, octets),
    ).toBe(true);
    expect(await told('sign', 'csr', 'signer', '--common-name', 'signer')).toMatch(
      /^-----BEGIN CERTIFICATE REQUEST-----\n/,
    );
    expect(await refused('sign', 'raw', 'signer', 'x')).toMatchObject({
      code: 1,
      problem: { code: 'raw_signing_off' },
    });
    expect(await refused('sign', 'jwt', 'signer', 'dpop+jwt', '{}')).toMatchObject({
      code: 1,
      problem: { code: 'type_reserved' },
    });
    expect(await refused('sign', 'http', 'signer', 'GET', 'https://a.example/%61')).toMatchObject({
      code: 2,
      problem: { code: 'invalid_target_uri', status: 400 },
    });
  });

  it('shows and renews credentials', async () => {
    await told('agent', 'create', 'holder', '--backend', 'pkcs11');
    const renewed = await json<{ wit: string; x509: { chain: string[] } }>('credential', 'renew', 'holder');
    expect(decodeJwt(renewed.wit).sub).toBe('spiffe://sandbox.test/agent/sandbox-host/holder');
    const shown = await told('credential', 'show', 'holder');
    expect(shown).toMatch(/^assurance +software$/m);
    expect(shown).toContain(renewed.wit);
    expect(shown).toContain('-----BEGIN CERTIFICATE-----');
  });

  it('attests to a third party, and proves the host anew (admin)', async () => {
    const nonce = randomBytes(32).toString('base64url');
    const quote = await json<Record<string, unknown>>(
      'attest',
      'https://v.example',
      '--nonce',
      nonce,
      '--pcr',
      '0,7',
    );
    expect(quote).toMatchObject({ audience: 'https://v.example', nonce, pcrSelection: [0, 7] });
    // Without a nonce of the verifier's, the random one is told, or nobody could check the quote.
    expect(await told('attest', 'https://v.example')).toMatch(/^nonce +[\w-]{43}$/m);
    expect(await refused('attest', 'https://v.example', '--nonce', 'short')).toMatchObject({ code: 2 });

    expect(await json('host', 'enroll')).toMatchObject({ state: 'enrolled', label: 'sandbox-host' });
    expect(await told('host', 'enroll')).toMatch(/^state +enrolled$/m);
  });

  it('exports the key file of a TPM key, and none of a token’s (admin)', async () => {
    await told('agent', 'create', 'filed');
    expect(await told('agent', 'export-tss2', 'filed')).toMatch(/^-----BEGIN TSS2 PRIVATE KEY-----\n/);
    await told('agent', 'create', 'unfiled', '--backend', 'pkcs11');
    expect(await refused('agent', 'export-tss2', 'unfiled')).toMatchObject({
      code: 1,
      problem: { code: 'conflict' },
    });
  });

  it('exits as documented: usage 2, no daemon 3, no agent 4, too late 5', async () => {
    for (const args of [
      [],
      ['agent'],
      ['agent', 'create'],
      ['agent', 'create', 'a', 'b'],
      ['agent', 'create', 'a', '--owner', 'me'],
      ['--timeout', 'soon', 'status'],
      ['--timeout', '0', 'status'],
      ['attest', 'https://v.example', '--pcr', '0,x'],
      ['sign', 'http', 'a', 'GET', 'https://a.example/', '--profile', 'none'],
      ['completion', 'tcsh'],
    ]) {
      const { code, out, err } = await agentkey(...args);
      expect({ code, out }, args.join(' ')).toEqual({ code: 2, out: '' });
      expect(err, args.join(' ')).toMatch(/^(error: |Usage: )/m);
    }
    const nowhere = { env: { AGENTKEYD_SOCKET: '/nonexistent/s' } };
    const { code, err } = await agentkeyWith(nowhere, 'status');
    expect(code).toBe(3);
    expect(err).toContain('/nonexistent/s');
    // The flag wins over the environment.
    expect((await agentkeyWith(nowhere, '--socket', sandbox.description.socket, 'status')).code).toBe(0);
    expect(await refused('agent', 'show', 'nobody')).toMatchObject({ code: 4, problem: { status: 404 } });
    expect(await refused('--timeout', '0.001', 'host', 'enroll')).toMatchObject({ code: 5 });
    const plain = await agentkey('agent', 'show', 'nobody');
    expect(plain).toMatchObject({ out: '', err: 'agentkey: there is no such agent\n' });
  });

  it('ends quietly when nobody reads on', async () => {
    const { socket } = sandbox.description;
    const line = '"$0" "$1" --socket "$2" --json status | head -c 1; echo " ${PIPESTATUS[0]}"';
    const { out, err } = await shell(line, process.execPath, programFile('cli'), socket);
    expect(out).toBe('{ 0\n');
    expect(err).toBe('');
  });

  it('completes commands, options and values in bash', async () => {
    const complete = async (...words: string[]): Promise<readonly string[]> => {
      const { out, err } = await shell(
        [
          'source <("$0" "$1" completion bash)',
          'shift',
          'complete -p agentkey >&2',
          'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))',
          '_agentkey; printf "%s\\n" "${COMPREPLY[@]}"',
        ].join('\n'),
        process.execPath,
        programFile('cli'),
        ...words,
      );
      expect(err).toBe('complete -o default -F _agentkey agentkey\n');
      return out.split('\n').filter((word) => word !== '');
    };
    expect(await complete('agentkey', 'ag')).toEqual(['agent']);
    expect(await complete('agentkey', 'agent', 're')).toEqual(['retire', 'revoke']);
    expect(await complete('agentkey', 'agent', 'r')).toEqual(['rotate', 'retire', 'revoke']);
    expect(await complete('agentkey', 'agent', 'delegate', 'a', '--max')).toEqual(['--max-depth']);
    expect(await complete('agentkey', '--socket', '/x', '--json', 'sign', 'd')).toEqual(['dpop']);
    expect(await complete('agentkey', 'agent', 'create', 'name', '--back')).toEqual(['--backend']);
    expect(await complete('agentkey', 'agent', 'create', '--backend', '')).toEqual(['tpm', 'pkcs11']);
    expect(await complete('agentkey', 'agent', 'create', '--backend', 'tpm', '--algorithm', 'ES')).toEqual([
      'ES256',
      'ES384',
    ]);
    expect(await complete('agentkey', 'agent', 'show', 'planner', '--js')).toEqual(['--json']);
    expect(await complete('agentkey', 'attest', '--nonce', '')).toEqual([]);
  });
});

async function shell(line: string, ...args: string[]): Promise<Ended> {
  const child = spawn('bash', ['-c', line, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}
