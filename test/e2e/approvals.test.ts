/** S12: a person allows a request over the real sockets; who asks, who allows and the daemon are processes of their own. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { connect, PendingApprovalError } from '../../src/client/index.ts';
import { parseAuditEntry, type AuditEntry } from '../../src/wire/audit-entry.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { answerFaults } from '../support/openapi.ts';
import { requestAs, type SocketAnswer } from '../support/http-over-socket.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const POLICIES = `
@id("ask") @approval("person")
permit (principal, action == Action::"http-message", resource)
when { principal.uid == resource.ownerUid && context.path == "/ask" };
@id("ask-passkey") @approval("passkey")
permit (principal, action == Action::"http-message", resource) when { context.path == "/passkey" };
@id("not-the-auditor")
forbid (principal == Caller::"4322", action == Action::"approve", resource);
`;
const APPROVER = 4321;
const AUDITOR = 4322;
const NOBODY = 4323;
const OTHER_OWNER = 4324;

interface View {
  readonly id: string;
  readonly state: string;
}

let softhsm: TestSofthsm;
let temp: TempDir;
let daemon: TestDaemon;

/** Every answer is as docs/openapi.yaml says. */
const described = (operation: string, answer: SocketAnswer): SocketAnswer => {
  expect(answerFaults(operation, answer), `${operation} ${answer.status} ${answer.text}`).toEqual([]);
  return answer;
};
const ask = async (path = '/ask', agent = 'asker'): Promise<SocketAnswer> => {
  const answer = await daemon.request('POST', `/v1/agents/${agent}/sign/http-message`, {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: `https://bank.example${path}`,
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{"amount":1}').toString('base64url'),
  });
  return described('signHttpMessage', answer);
};
const pending = async (path?: string): Promise<View> => {
  const { status, text, json } = await ask(path);
  if (status !== 202) throw new Error(text);
  return (json as { approval: View }).approval;
};
const decide = async (uid: number, id: string, decision: 'allow' | 'deny' = 'allow') => {
  const path = `/v1/approvals/${id}/${decision}`;
  const answer = await requestAs(uid, daemon.adminSocketPath, 'POST', path, {});
  if (answer.status === 200) {
    described(`${decision}Approval`, {
      ...answer,
      headers: { 'content-type': 'application/json' },
      text: JSON.stringify(answer.json),
    });
  }
  return answer;
};
const collect = async (id: string): Promise<SocketAnswer> =>
  described('collectApproval', await daemon.request('GET', `/v1/approvals/${id}`));
const code = ({ status, json }: { readonly status: number; readonly json: unknown }): unknown =>
  status < 300 ? status : (json as { code?: unknown }).code;

beforeAll(async () => {
  softhsm = await makeSofthsm();
  temp = await makeTempDir();
  await chmod(temp.path, 0o711);
  const at = (name: string): string => join(temp.path, name);
  await mkdir(at('admin'));
  await chmod(at('admin'), 0o711);
  daemon = await startDaemon({
    softhsm,
    policies: { 'ask.cedar': POLICIES },
    paths: { shared: at('s'), admin: at('admin/s') },
    config: {
      sockets: { shared: at('s'), shared_mode: '0666', admin: at('admin/s'), admin_mode: '0666' },
      policy: {
        create: [{ uids: [0], names: ['*'] }],
        roles: {
          operate: [{ uids: [0] }],
          approve: [{ uids: [0, APPROVER, AUDITOR] }],
          policy: [{ uids: [0] }],
        },
        jwt_types: ['*'],
      },
    },
  });
  const made = await daemon.request('POST', '/v1/agents', { name: 'asker', backend: 'pkcs11' });
  expect(made.status).toBe(201);
}, 60_000);
afterAll(async () => {
  await daemon.remove();
  await softhsm.remove();
  await temp.remove();
});

// The approver is another user, which only root can be.
describe.runIf(process.getuid?.() === 0)('a person allows', { timeout: 60_000 }, () => {
  it('another than who asked; the signature is given once, and all of it is on record', async () => {
    const asked = await ask();
    const { approval } = asked.json as { approval: View };
    expect(asked).toMatchObject({ status: 202, headers: { location: `/v1/approvals/${approval.id}` } });
    expect(approval).toMatchObject({
      state: 'pending',
      level: 'person',
      agent: 'asker',
      operation: 'http-message',
      policies: expect.arrayContaining(['ask']) as unknown,
      requesterUid: 0,
      summary: { method: 'POST', origin: 'https://bank.example', path: '/ask' },
    });
    expect((await collect(approval.id)).status).toBe(202);
    // Who asked has the role approve as well.
    expect(code(await daemon.admin('POST', `/v1/approvals/${approval.id}/allow`, {}))).toBe('policy_denied');
    expect(code(await decide(NOBODY, approval.id))).toBe('policy_denied');
    // The policy set decides about approvers below the role.
    expect(code(await decide(AUDITOR, approval.id))).toBe('policy_denied');
    expect(code(await decide(APPROVER, approval.id))).toBe(200);
    expect(code(await requestAs(APPROVER, daemon.socketPath, 'GET', `/v1/approvals/${approval.id}`))).toBe(
      'approval_not_found',
    );
    const answer = await collect(approval.id);
    expect(answer).toMatchObject({
      status: 200,
      json: { headers: { signature: expect.any(String) as string } },
    });
    expect(code(await collect(approval.id))).toBe('approval_void');

    const { json } = await daemon.admin('GET', '/v1/audit/entries?from=0&limit=200');
    const entries = (json as { entries: readonly string[] }).entries.map((entry) =>
      parseAuditEntry(Buffer.from(entry, 'utf8')),
    );
    type DecisionOnRecord = Extract<AuditEntry, { kind: 'decision' }>;
    const decisions = entries.filter((entry): entry is DecisionOnRecord => entry.kind === 'decision');
    const signing = decisions.filter(({ action }) => action === 'http-message').slice(-2);
    expect(signing.map(({ effect }) => effect)).toEqual(['pending', 'permit']);
    expect(decisions.filter(({ action }) => action === 'approval-decide')).toMatchObject([
      { effect: 'permit', caller: { uid: 0 }, parameters: { approval: approval.id, decision: 'allow' } },
      { effect: 'deny', caller: { uid: AUDITOR }, policies: ['not-the-auditor'] },
      { effect: 'permit', caller: { uid: APPROVER }, policies: ['approvers-approve'] },
    ]);
  });

  it('or denies', async () => {
    const { id } = await pending();
    expect(await decide(APPROVER, id, 'deny')).toMatchObject({ status: 200, json: { state: 'denied' } });
    expect(code(await collect(id))).toBe('approval_denied');
    expect(code(await decide(APPROVER, id))).toBe('approval_void');
  });

  it('of 16 who collect at once, one gets it', async () => {
    const { id } = await pending();
    await decide(APPROVER, id);
    const answers = await Promise.all(Array.from({ length: 16 }, () => collect(id)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    for (const answer of answers) expect([200, 202, 'approval_void']).toContain(code(answer));
  });

  it('and no queue is held meanwhile', async () => {
    const waiting = await Promise.all(Array.from({ length: 8 }, () => pending()));
    const { json } = await daemon.request('GET', '/v1/status');
    expect(json).toMatchObject({ queue: { waiting: 0, running: 0 } });
    expect((await ask('/free')).status).toBe(200);
    for (const { id } of waiting) await decide(APPROVER, id, 'deny');
  });

  it('by passkey nobody can yet, though anybody may deny it', async () => {
    const { id } = await pending('/passkey');
    expect(code(await decide(APPROVER, id))).toBe('policy_denied');
    expect(code(await decide(APPROVER, id, 'deny'))).toBe(200);
  });

  it('and whatever changes before the signature voids it', async () => {
    const byKey = await pending();
    await decide(APPROVER, byKey.id);
    expect((await daemon.request('POST', '/v1/agents/asker/rotate', {})).status).toBe(200);
    expect(code(await collect(byKey.id))).toBe('approval_void');

    const byPolicy = await pending();
    await decide(APPROVER, byPolicy.id);
    const file = join(daemon.dir, 'policy.d', 'ask.cedar');
    await writeFile(
      file,
      POLICIES.replace('@id("ask") @approval("person")', '@id("ask") @approval("passkey")'),
    );
    expect(code(await daemon.admin('POST', '/v1/policy/reload', {}))).toBe(200);
    expect(code(await collect(byPolicy.id))).toBe('approval_void');
    await writeFile(file, POLICIES);
    expect(code(await daemon.admin('POST', '/v1/policy/reload', {}))).toBe(200);
    expect(code(await collect(byPolicy.id))).toBe('approval_void');
  });

  it('over kill -9: what was allowed still is, for the same request, once', async () => {
    const [kept, used] = [await pending(), await pending()];
    await decide(APPROVER, used.id);
    expect((await collect(used.id)).status).toBe(200);
    await daemon.kill9();
    await daemon.start();
    expect(code(await collect(used.id))).toBe('approval_void');
    expect((await collect(kept.id)).status).toBe(202);
    expect(code(await decide(APPROVER, kept.id))).toBe(200);
    expect(code(await collect(kept.id))).toBe('request_needed');
    await daemon.kill9();
    await daemon.start();
    expect((await pending('/passkey')).id).not.toBe(kept.id);
    expect(await pending()).toMatchObject({ id: kept.id, state: 'allowed' });
    expect((await collect(kept.id)).status).toBe(200);
    expect(code(await collect(kept.id))).toBe('approval_void');
    expect((await pending()).id).not.toBe(kept.id);
  });
});

describe.runIf(process.getuid?.() === 0)('the SDK and the command line', { timeout: 60_000 }, () => {
  const run = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    let [out, err] = ['', ''];
    const sockets = ['--socket', daemon.socketPath, '--admin-socket', daemon.adminSocketPath];
    const exit = await main([...sockets, ...args], {
      out: (text) => (out += text),
      err: (text) => (err += text),
    });
    return { code: exit, out, err };
  };

  it('say that a person is waited for, and wait if they are told to', async () => {
    const client = connect({ socketPath: daemon.socketPath });
    const agent = await client.agent('asker');
    const input = { profile: 'rfc9421', method: 'GET', targetUri: 'https://bank.example/ask' } as const;
    const refused = await agent.signHttpMessage(input).catch((thrown: unknown) => thrown);
    expect(refused).toBeInstanceOf(PendingApprovalError);
    const { approval } = refused as PendingApprovalError;
    await decide(APPROVER, approval.id);
    expect(await client.collectApproval(approval.id)).toMatchObject({ headers: {} });

    const waited = agent.signHttpMessage(input, {
      waitForApproval: true,
      onApproval: ({ id }) => void decide(APPROVER, id),
    });
    expect(await waited).toHaveProperty('signature');

    const denied = agent.signHttpMessage(input, {
      waitForApproval: true,
      onApproval: ({ id }) => void decide(APPROVER, id, 'deny'),
    });
    await expect(denied).rejects.toMatchObject({ code: 'approval_denied' });

    const reason = new Error('enough');
    const stop = new AbortController();
    const given = agent.signHttpMessage(input, {
      waitForApproval: true,
      signal: stop.signal,
      onApproval: () => {
        stop.abort(reason);
      },
    });
    await expect(given).rejects.toBe(reason);

    const overRestart = agent.signHttpMessage(input, {
      waitForApproval: true,
      onApproval: ({ id }) => {
        void (async () => {
          await daemon.kill9();
          await delay(100);
          await daemon.start();
          await decide(APPROVER, id);
        })();
      },
    });
    expect(await overRestart).toHaveProperty('signature');
    client.close();
  });

  it('agentkey sign exits 6, approvals shows it, and the answer is collected once', async () => {
    const sign = ['sign', 'http', 'asker', 'GET', 'https://bank.example/ask'];
    const unwaited = await run(...sign);
    expect(unwaited).toMatchObject({ code: 6, out: '' });
    const [id = ''] = /[0-9a-f-]{36}/.exec(unwaited.err) ?? [];
    expect((await run('approvals', 'list')).out).toMatch(
      new RegExp(`^${id} +pending +asker +http-message +\\S+ +GET https://bank\\.example/ask$`, 'm'),
    );
    expect((await run('approvals', 'show', id)).out).toMatch(/^state +pending$/m);
    expect((await run('approvals', 'collect', id)).code).toBe(6);
    // Who asked can not allow it.
    expect(await run('approvals', 'allow', id)).toMatchObject({ code: 1, out: '' });
    await decide(APPROVER, id);
    const collected = await run('approvals', 'collect', id);
    expect(JSON.parse(collected.out)).toMatchObject({ headers: { signature: expect.any(String) as string } });
    expect((await run('approvals', 'collect', id)).code).toBe(1);
    expect((await run('approvals', 'list')).out).not.toContain(id);
    expect((await run('approvals', 'list', '--all')).out).toMatch(new RegExp(`^${id} +used `, 'm'));
    expect((await run('approvals', 'show', '00000000-0000-4000-8000-000000000000')).code).toBe(4);
  });

  it('agentkey sign --wait says whom it waits for, and prints what it waited for', async () => {
    const waiting = run('sign', 'http', 'asker', 'GET', 'https://bank.example/ask', '--wait');
    let id: string | undefined;
    while (id === undefined) {
      await delay(50);
      id = /^([0-9a-f-]{36}) +pending/m.exec((await run('approvals', 'list')).out)?.[1];
    }
    await decide(APPROVER, id);
    const { code: exit, out, err } = await waiting;
    expect({ exit, err }).toMatchObject({
      exit: 0,
      err: expect.stringContaining(`approvals allow ${id}`) as string,
    });
    expect(out).toMatch(/^signature: sig=:/m);
  });

  it('agentkey approvals allow and deny are for others’ requests', async () => {
    const made = await daemon.admin('POST', '/v1/agents', {
      ...{ name: 'theirs', backend: 'pkcs11', ownerUid: OTHER_OWNER },
    });
    expect(made.status).toBe(201);
    const theirs = async (): Promise<string> => {
      const { status, json } = await requestAs(
        OTHER_OWNER,
        daemon.socketPath,
        'POST',
        '/v1/agents/theirs/sign/http-message',
        { profile: 'rfc9421', method: 'GET', targetUri: 'https://bank.example/ask' },
      );
      expect(status).toBe(202);
      return (json as { approval: View }).approval.id;
    };
    const [first, second] = [await theirs(), await theirs()];
    expect(await run('approvals', 'allow', first)).toMatchObject({
      code: 0,
      out: 'http-message of theirs is allowed\n',
    });
    expect(await run('approvals', 'deny', second)).toMatchObject({
      code: 0,
      out: 'http-message of theirs is denied\n',
    });
    const answer = await requestAs(OTHER_OWNER, daemon.socketPath, 'GET', `/v1/approvals/${first}`);
    expect(answer.status).toBe(200);
  });
});
