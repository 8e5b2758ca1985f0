import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  commandCode,
  startTpmRelay,
  type Passing,
  type TpmRelay,
} from '../../../scripts/sandbox/tpm-relay.ts';
import { AuthDeriver } from '../../../src/backend/tpm/key-auth.ts';
import { EsysConnection } from '../../../src/backend/tpm/esys.ts';
import type { TpmBackend, TpmBackendOptions } from '../../../src/backend/tpm/tpm-backend.ts';
import type { HardwareKey } from '../../../src/backend/backend.ts';
import { TPM_ALG, TPM_CC } from '../../../src/wire/tpm/constants.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { handlesOf } from '../../support/esys.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { tpm2Tools } from '../../support/tpm2-tools.ts';

/** Offsets in the response to TPM2_Sign by a P-256 key in a SHA-256 session (Part 1 §18). */
const SIZE_FIELD = { from: 2, to: 6 };
const AUTH_OCTETS = 2 + 32 + 1 + 2 + 32;
/** In the command: header, key, authorizationSize, session handle, size of the nonce. */
const COMMAND_NONCE_AT = 10 + 4 + 4 + 4 + 2;

let swtpm: TestSwtpm;
let relay: TpmRelay;
let host: TpmHost;
let backend: TpmBackend;
/** Every octet that went to the TPM or came back. */
let bus: Buffer[];
/** Done to the TPM2_Sign commands that pass. */
let meddle: (command: Buffer) => Passing | undefined;

beforeEach(async () => {
  swtpm = await startSwtpm();
  await start();
});

afterEach(async () => {
  await backend.close();
  await relay.stop();
  await swtpm.stop();
});

async function start(options: Partial<TpmBackendOptions> = {}): Promise<void> {
  bus = [];
  meddle = () => undefined;
  relay = await startTpmRelay({
    tpmSocket: swtpm.tcti.replace('swtpm:path=', ''),
    socket: join(swtpm.dir, 'relay'),
    onCommand: (command) => {
      bus.push(command);
      const passing = commandCode(command) === TPM_CC.Sign ? meddle(command) : undefined;
      const answer = async (response: Buffer): Promise<Buffer> => {
        bus.push(response);
        return passing === undefined ? response : passing.answer(response);
      };
      return { command: passing?.command ?? command, answer };
    },
  });
  host = new TpmHost(relay.tcti);
  backend = await host.open({ sessionProtection: 'salted', ...options });
}

/** Changes responses only. */
function answering(change: (response: Buffer, command: Buffer) => Buffer): typeof meddle {
  return (command) => ({ command, answer: (response) => Promise.resolve(change(response, command)) });
}

function commandsOf(code: number): readonly Buffer[] {
  return bus.filter((octets) => octets.readUInt16BE(0) > 0x8000 && commandCode(octets) === code);
}

const generate = (): Promise<HardwareKey> =>
  backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });

async function signs({ keyId, publicJwk }: HardwareKey): Promise<boolean> {
  const message = randomBytes(40);
  const signature = await backend.sign(keyId, { kind: 'message', octets: message });
  return verifySignature(publicJwk, message, signature);
}

const refusal = ({ keyId }: HardwareKey, octets = randomBytes(40)): Promise<string | undefined> =>
  codeOfAsync(() => backend.sign(keyId, { kind: 'message', octets }));

describe('TPM2_Sign in a salted session of our own', { timeout: 60_000 }, () => {
  it('signs with three keys in turn and with 64 signatures at once, in at most two sessions', async () => {
    const keys = [await generate(), await generate(), await generate()];
    for (let round = 0; round < 3; round += 1) for (const key of keys) expect(await signs(key)).toBe(true);
    expect(commandsOf(TPM_CC.StartAuthSession)).toHaveLength(2); // for TPM2_Create, and for TPM2_Sign
    const many = await Promise.all(Array.from({ length: 64 }, (_, i) => signs(keys[i % 3] ?? expect.fail())));
    expect(many).toEqual(many.map(() => true));
    const one = keys[0] ?? expect.fail();
    const more = await Promise.all(Array.from({ length: 64 }, () => signs(one)));
    expect(more).toEqual(more.map(() => true));
    expect(commandsOf(TPM_CC.StartAuthSession)).toHaveLength(3);
  });

  it('S15: the auth of a key is not on the bus, and with a password it is', async () => {
    const key = await generate();
    const auth = async (): Promise<Buffer> => {
      const record = await host.store.get(key.keyId);
      return Buffer.from(new AuthDeriver(host.secret).keyAuth(record ?? expect.fail()));
    };
    for (let n = 0; n < 5; n += 1) expect(await signs(key)).toBe(true);
    const secret = await auth();
    expect(Buffer.concat(bus).includes(secret)).toBe(false);
    const nonces = commandsOf(TPM_CC.Sign).map((c) =>
      c.toString('hex', COMMAND_NONCE_AT, COMMAND_NONCE_AT + 32),
    );
    expect(new Set(nonces).size).toBe(nonces.length);

    await backend.close();
    backend = await host.open({ sessionProtection: 'password' });
    expect(await signs(key)).toBe(true);
    expect(Buffer.concat(bus).includes(secret)).toBe(true);
  });

  it('a response that was changed in any octet is refused, and the next honest one is taken', async () => {
    const key = await generate();
    let octets = 0;
    meddle = answering((response) => {
      octets = response.length;
      return response;
    });
    expect(await signs(key)).toBe(true);
    for (let at = 0; at < octets; at += 1) {
      // Of a response that says it is longer the transport waits for the rest.
      if (at >= SIZE_FIELD.from && at < SIZE_FIELD.to) continue;
      meddle = answering((response) => flipped(response, at));
      expect([at, await refusal(key)]).toEqual([at, 'tpm_unavailable']);
    }
    meddle = () => undefined;
    expect(await signs(key)).toBe(true);
    // None of them stayed in the TPM.
    expect(commandsOf(0x165).length).toBeGreaterThanOrEqual(octets - 4);
  });

  it('octets after the response, or missing from it, are refused', async () => {
    const key = await generate();
    const resized = (response: Buffer): Buffer => {
      response.writeUInt32BE(response.length, 2);
      return response;
    };
    for (const change of [
      (response: Buffer) => resized(Buffer.concat([response, Buffer.of(0)])),
      (response: Buffer) => resized(Buffer.from(response.subarray(0, -1))),
      (response: Buffer) => resized(Buffer.from(response.subarray(0, -AUTH_OCTETS))),
      // Without its session, as TPM2_Sign by password is answered but for the tag.
      (response: Buffer) => {
        const bare = resized(Buffer.from(response.subarray(0, -AUTH_OCTETS)));
        bare.writeUInt16BE(0x8001, 0);
        return bare;
      },
    ]) {
      meddle = answering(change);
      expect(await refusal(key)).toBe('tpm_unavailable');
    }
  });

  it('a response of before is refused when it is given again, for the same digest too', async () => {
    const key = await generate();
    const message = randomBytes(40);
    let before: Buffer | undefined;
    meddle = answering((response) => {
      before ??= Buffer.from(response);
      return before;
    });
    expect(await refusal(key, message)).toBeUndefined();
    expect(await refusal(key, message)).toBe('tpm_unavailable');
    // In a session started since, too.
    expect(await refusal(key, message)).toBe('tpm_unavailable');
  });

  it('a response with the nonce of another is refused', async () => {
    const key = await generate();
    let nonce: Buffer | undefined;
    const nonceAt = (response: Buffer): number => response.length - AUTH_OCTETS + 2;
    meddle = answering((response) => {
      const own = Buffer.from(response.subarray(nonceAt(response), nonceAt(response) + 32));
      nonce?.copy(response, nonceAt(response));
      nonce ??= own;
      return response;
    });
    expect(await signs(key)).toBe(true);
    expect(await refusal(key)).toBe('tpm_unavailable');
    // The caller's own nonce, sent back.
    meddle = answering((response, command) => {
      command.copy(response, nonceAt(response), COMMAND_NONCE_AT, COMMAND_NONCE_AT + 32);
      return response;
    });
    expect(await refusal(key)).toBe('tpm_unavailable');
  });

  it('a command with another digest is refused by the TPM', async () => {
    const key = await generate();
    meddle = (command) => ({
      command: flipped(command, command.length - 20),
      answer: (response) => Promise.resolve(response),
    });
    expect(await refusal(key)).toBe('tpm_auth_failed');
  });

  it('what the TPM says of itself is mended: TPM_RC_RETRY, and a session that it does not know', async () => {
    const key = await generate();
    for (const rc of [0x922, 0x918]) {
      let isFirst = true;
      meddle = answering((response) => {
        if (!isFirst) return response;
        isFirst = false;
        const refused = Buffer.from('80010000000a00000000', 'hex');
        refused.writeUInt32BE(rc, 6);
        return refused;
      });
      expect(await signs(key)).toBe(true);
      expect(isFirst).toBe(false);
    }
  });

  it('a TPM that was reset, and sessions that were flushed underneath, are mended', async () => {
    const key = await generate();
    expect(await signs(key)).toBe(true);
    await swtpm.restart();
    expect(await signs(key)).toBe(true);
    const other = await EsysConnection.open(swtpm.tcti);
    for (const tpmHandle of await handlesOf(other, 0x02000000))
      await other.flushContext(await other.fromTpmHandle({ tpmHandle }));
    await other.close();
    expect(await signs(key)).toBe(true);
    const all = await Promise.all(Array.from({ length: 20 }, () => signs(key)));
    expect(all).toEqual(all.map(() => true));
  });

  it('leaves room for the sessions of attestation, and no session behind', async () => {
    const key = await generate();
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(Array.from({ length: 8 }, () => signs(key)));
      const attested = await backend.attester.certify(key.keyId, randomBytes(32));
      expect(attested.attest.length).toBeGreaterThan(0);
    }
    const responses = bus.filter((octets) => octets.length === 10).map((octets) => octets.readUInt32BE(6));
    expect(responses).not.toContain(0x903);
    await backend.close();
    const other = await EsysConnection.open(swtpm.tcti);
    expect(await handlesOf(other, 0x02000000)).toEqual([]);
    await other.close();
  });

  it('makes do with one session where others hold the rest', async () => {
    const key = await generate();
    await backend.close();
    const held = await EsysConnection.open(swtpm.tcti);
    const trial = { type: 'trial', symmetric: 'none', authHash: TPM_ALG.SHA256 } as const;
    const handles = [await held.startAuthSession(trial), await held.startAuthSession(trial)];
    backend = await host.open({ sessionProtection: 'salted' });
    expect(await signs(key)).toBe(true);
    const all = await Promise.all(Array.from({ length: 16 }, () => signs(key)));
    expect(all).toEqual(all.map(() => true));
    for (const handle of handles) await held.flushContext(handle);
    await held.close();
  });

  it('is salted to an RSA storage root key as well', async () => {
    await backend.close();
    await relay.stop();
    await swtpm.stop();
    swtpm = await startSwtpm();
    await tpm2Tools(swtpm, [
      ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'rsa2048', '-c', 'srk.ctx'],
      ['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', 'srk.ctx', '0x81000001'],
    ]);
    await start();
    expect(await signs(await generate())).toBe(true);
  });
});

function flipped(octets: Buffer, at: number): Buffer {
  const changed = Buffer.from(octets);
  changed[at] = (changed[at] ?? 0) ^ 0x01;
  return changed;
}
