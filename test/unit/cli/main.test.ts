/** The command line as a person or script meets it: help, exit codes, errors. */
import { createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildProgram, descendants, main } from '../../../src/cli/main.ts';

async function agentkey(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await main(args, { out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}

/** A server that answers every call the same way: stands for a daemon's answer, to see what is made of it. */
async function withAnswer<T>(
  status: number,
  body: string,
  work: (socketPath: string) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'ak-cli-'));
  const socketPath = join(dir, 's');
  const server = createServer((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/problem+json' }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    return await work(socketPath);
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(dir, { recursive: true });
  }
}

describe('agentkey', () => {
  it('has help on every command, and help exits 0', async () => {
    const program = buildProgram({ out: () => undefined, err: () => undefined });
    const commands = descendants(program).filter((command) => command.commands.length === 0);
    expect(commands.length).toBeGreaterThan(12);
    for (const command of commands) {
      const path = [command.name()];
      if (command.parent?.parent) path.unshift(command.parent.name());
      const { code, out } = await agentkey(...path, '--help');
      expect(code, path.join(' ')).toBe(0);
      expect(out).toContain('Usage: agentkey');
      expect(command.description(), path.join(' ')).not.toBe('');
    }
  });

  it('exits 2 on an unknown command, option or choice, and says which', async () => {
    for (const args of [
      ['nope'],
      ['agent', 'list', '--nope'],
      ['agent', 'create', 'a', '--backend', 'cloud'],
    ]) {
      const { code, err } = await agentkey(...args);
      expect(code, args.join(' ')).toBe(2);
      expect(err).toMatch(/nope|cloud/);
    }
  });

  it('exits 3 and names the socket where no daemon listens', async () => {
    const { code, err } = await agentkey('--socket', '/nonexistent/agentkeyd.sock', 'status');
    expect(code).toBe(3);
    expect(err).toContain('/nonexistent/agentkeyd.sock');
  });

  it('names the admin socket for what needs it', async () => {
    const { code, err } = await agentkey('--admin-socket', '/nonexistent/admin.sock', 'host', 'enroll');
    expect(code).toBe(3);
    expect(err).toContain('/nonexistent/admin.sock');
  });

  it.each([
    [404, 'agent_not_found', 4],
    [403, 'policy_denied', 1],
    [503, 'backend_starting', 5],
    [429, 'too_many_requests', 5],
    [500, 'internal', 70],
    [502, 'issuer_refused', 1],
  ])('turns a %i %s into exit code %i and a problem document with --json', async (status, problem, exit) => {
    const body = JSON.stringify({ code: problem, detail: 'because', status, title: 't' });
    await withAnswer(status, body, async (socketPath) => {
      const plain = await agentkey('--socket', socketPath, 'agent', 'show', 'a');
      expect(plain).toMatchObject({ code: exit, out: '' });
      expect(plain.err).toBe('agentkey: because\n');
      const json = await agentkey('--socket', socketPath, '--json', 'agent', 'show', 'a');
      expect(JSON.parse(json.err)).toMatchObject({ code: problem, status });
    });
  });

  it('S12: lets no words of an answer steer the terminal', async () => {
    const problem = { type: 'about:blank', title: 'x', status: 403, code: 'policy_denied' };
    const body = JSON.stringify({ ...problem, detail: 'no\u001b[2K\u009b1A\u202e' });
    await withAnswer(403, body, async (socketPath) => {
      for (const flags of [[], ['--json']]) {
        const { err } = await agentkey('--socket', socketPath, ...flags, 'agent', 'show', 'a');
        expect(err).toContain('no');
        expect(err.trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    });
  });

  it('survives an answer that is no problem document', async () => {
    await withAnswer(500, '<html>', async (socketPath) => {
      expect(await agentkey('--socket', socketPath, 'status')).toMatchObject({ code: 70 });
    });
  });

  it('refuses a malformed header or claims before it calls anyone', async () => {
    const sign = ['--socket', '/nonexistent/s', 'sign'];
    await withAnswer(200, '{"id":"x"}', async (socketPath) => {
      sign[1] = socketPath;
      expect(
        await agentkey(...sign, 'http', 'a', 'GET', 'https://a.example/', '-H', 'nocolon'),
      ).toMatchObject({
        code: 2,
      });
      expect((await agentkey(...sign, 'jwt', 'a', 't', '{"a":1,"a":2}')).code).not.toBe(0);
    });
  });

  it.each(['bash', 'zsh', 'fish'])('completes every command in %s', async (shell) => {
    const { code, out } = await agentkey('completion', shell);
    expect(code).toBe(0);
    for (const word of ['agent', 'create', 'rotate', 'sign', 'http', '--json', '--pcr'])
      expect(out).toContain(shell === 'fish' ? word.replace(/^--/, '-l ') : word);
  });
});
