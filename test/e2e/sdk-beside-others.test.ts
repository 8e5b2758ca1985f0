/** `agentkeyd/client` as other libraries and programs use it: its signers, and the example of a resource server. */
import { spawn } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createVerifier, httpbis } from 'http-message-signatures';
import { importJWK, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connect,
  jwtSigner,
  rawMessageSigner,
  type AgentHandle,
  type AgentKeyClient,
} from '../../src/client/index.ts';
import type { Algorithm } from '../../src/wire/algorithms.ts';
import { codeOf, codeOfAsync } from '../support/code-of.ts';
import { startDaemon } from '../support/daemon.ts';
import { issuerJson } from '../support/issuer-web.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';
import { makeSofthsm } from '../support/softhsm.ts';
import { freePort } from '../../scripts/sandbox/free-port.ts';

let sandbox: TestSandbox;
let client: AgentKeyClient;
let tpm: AgentHandle;
let hsm: AgentHandle;

beforeAll(async () => {
  sandbox = await startSandbox();
  client = connect({ socketPath: sandbox.description.socket });
  tpm = await client.createAgent({ name: 'planner', backend: 'tpm' });
  hsm = await client.createAgent({ name: 'payer', backend: 'pkcs11', algorithm: 'Ed25519' });
}, 180_000);
afterAll(async () => {
  client.close();
  await sandbox.remove();
}, 60_000);

describe('signers for other libraries', () => {
  it('rawMessageSigner is refused by name where policy allows no raw signing', async () => {
    const sign = httpbis.signMessage(
      { key: rawMessageSigner(tpm), fields: ['@method', '@target-uri'] },
      { method: 'GET', url: 'https://api.example/', headers: {} },
    );
    await expect(sign).rejects.toMatchObject({ code: 'raw_signing_off' });
  });

  it('rawMessageSigner signs for http-message-signatures where policy names the agent', async () => {
    const softhsm = await makeSofthsm();
    const uid = process.getuid?.() ?? 0;
    const names = ['es256', 'es384', 'ed25519'] as const;
    const policy = { create: [{ uids: [uid], names: ['*'] }], allow_raw: [...names] };
    const policies = {
      'raw.cedar': '@id("raw") permit (principal, action == Action::"raw", resource);',
    };
    const daemon = await startDaemon({ softhsm, config: { policy }, policies });
    const local = connect({ socketPath: daemon.socketPath });
    const make = (name: string, algorithm: Algorithm): Promise<AgentHandle> =>
      local.createAgent({ name, backend: 'pkcs11', algorithm });
    const config = { fields: ['@method', '@target-uri'], params: ['created', 'keyid', 'alg'] };
    const request = { method: 'GET', url: 'https://api.example/x', headers: {} };
    try {
      for (const [name, algorithm] of [
        ['es256', 'ES256'],
        ['es384', 'ES384'],
        ['ed25519', 'Ed25519'],
      ] as const) {
        const agent = await make(name, algorithm);
        const key = rawMessageSigner(agent);
        const signed = await httpbis.signMessage({ key, ...config }, request);
        const verify = createVerifier(
          createPublicKey({ key: { ...agent.publicJwk }, format: 'jwk' }),
          key.alg,
        );
        const keyLookup = () => Promise.resolve({ id: key.id, algs: [key.alg], verify });
        expect(await httpbis.verifyMessage({ keyLookup }, signed), name).toBe(true);
        expect(await httpbis.verifyMessage({ keyLookup }, { ...signed, method: 'PUT' }), name).toBe(false);
      }
      const unnamed = rawMessageSigner(await make('unnamed', 'ES256'));
      const refused = httpbis.signMessage({ key: unnamed, ...config }, request);
      await expect(refused).rejects.toMatchObject({ code: 'raw_signing_off' });
      const pss = await make('pss', 'PS256');
      expect(codeOf(() => rawMessageSigner(pss))).toBe('unsupported_algorithm');
    } finally {
      local.close();
      await daemon.remove();
      await softhsm.remove();
    }
  });

  it('jwtSigner makes JWTs that jose verifies, and none of a reserved type', async () => {
    const signer = jwtSigner(hsm, 'order+jwt');
    const { payload, protectedHeader } = await jwtVerify(
      await signer.sign({ item: 7 }),
      await importJWK({ ...hsm.publicJwk }),
      { typ: 'order+jwt', issuer: hsm.view.identifiers.spiffeId ?? '' },
    );
    expect(payload['item']).toBe(7);
    expect(protectedHeader).toMatchObject({ alg: signer.alg, kid: signer.kid });
    expect(await codeOfAsync(() => jwtSigner(hsm, 'dpop+jwt').sign({}))).toBe('type_reserved');
  });
});

// It imports `agentkeyd/verify` as its readers will, which is what ships: dist/.
describe.runIf(process.env['AGENTKEYD_TEST_DIST'] === '1')('examples/resource-server.ts', () => {
  it('takes a signed payment once, and says why it takes no other', async () => {
    const { description } = sandbox;
    const port = await freePort('127.0.0.1');
    const origin = `http://127.0.0.1:${port}`;
    const trust = join(sandbox.dir, 'trust.json');
    await writeFile(
      trust,
      JSON.stringify({
        trustDomain: description.trustDomain,
        witKeys: await issuerJson(description, '/v1/keys/wit.json'),
        issuer: description.issuer,
        aauthDomain: description.aauthDomain,
        agentTokenKeys: await issuerJson(description, '/v1/keys/agent-token.json'),
        acceptSoftware: true,
      }),
    );
    const example = join(import.meta.dirname, '..', '..', 'examples', 'resource-server.ts');
    const child = spawn(process.execPath, [example, trust, origin, String(port)], {
      cwd: sandbox.dir,
      stdio: 'inherit',
    });
    try {
      await expect
        .poll(
          () =>
            fetch(origin).then(
              ({ status }) => status,
              () => 0,
            ),
          { timeout: 20_000 },
        )
        .toBe(401);
      const pay = (send: typeof fetch): Promise<Response> =>
        send(`${origin}/payments`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"to":"ACME","amount":"30.00"}',
        });
      for (const profile of ['rfc9421', 'aauth'] as const) {
        const answer = await pay(tpm.fetch({ profile }));
        expect(answer.status).toBe(201);
        expect(await answer.json()).toMatchObject({
          profile,
          payment: { to: 'ACME' },
          assurance: 'software',
        });
      }
      // The same octets twice.
      let sent: Parameters<typeof fetch> | undefined;
      const capture: typeof fetch = (...args) => {
        sent = args;
        return Promise.resolve(new Response());
      };
      await pay(tpm.fetch({ fetch: capture }));
      if (sent === undefined) throw new Error('nothing was sent');
      expect((await fetch(...sent)).status).toBe(201);
      const again = await fetch(...sent);
      expect(again.status).toBe(401);
      expect(await again.json()).toMatchObject({ code: 'replayed' });
      expect((await pay(fetch)).status).toBe(401);
    } finally {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    }
  });
});
