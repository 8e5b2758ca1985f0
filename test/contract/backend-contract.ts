/** What every KeyBackend promises, as one suite: run on real hardware or its real emulator, never on a mock. */
import {
  createHash,
  createPublicKey,
  randomBytes,
  randomUUID,
  verify,
  constants,
  type KeyObject,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HardwareKey, KeyBackend, SignInput } from '../../src/backend/backend.ts';
import { algorithmEntry, ALGORITHMS, type Algorithm } from '../../src/wire/algorithms.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../../src/wire/jwk.ts';
import { KeydError, type ErrorCode } from '../../src/wire/problem.ts';

/** One way somebody who holds every secret of the backend tries to take the private key out. */
export interface ExportAttempt {
  /** The hardware's own word for it: `C_WrapKey`, `TPM2_Duplicate`. */
  readonly name: string;
  readonly refused: boolean;
  /** What the hardware answered. */
  readonly answer: string;
}

/** The hardware under a backend; one per suite, its directories and processes its own. */
export interface BackendFixture {
  readonly kind: KeyBackend['kind'];
  /** What the backend must be able to sign with. */
  readonly algorithms: readonly Algorithm[];
  /** Opens the backend from durable state and hardware alone, as a newly started daemon does, and waits until it is ready. */
  open(): Promise<KeyBackend>;
  /** Ends and starts the hardware (or the library that holds its state) under a backend that may be open; its durable state stays. */
  restartHardware(): Promise<void>;
  /** Tries to take the private key out by every command the hardware has for it. */
  exportAttempts(keyId: string): Promise<readonly ExportAttempt[]>;
  cleanUp(): Promise<void>;
}

const MANY_SIGNATURES = 300;
const SUITE_TIMEOUT_MS = 120_000;

/** Runs the suite over the hardware that `makeFixture` starts. */
export function describeBackendContract(name: string, makeFixture: () => Promise<BackendFixture>): void {
  describe(`${name} keeps the KeyBackend contract`, { timeout: SUITE_TIMEOUT_MS }, () => {
    let fixture: BackendFixture;
    let backend: KeyBackend;

    beforeAll(async () => {
      fixture = await makeFixture();
      backend = await fixture.open();
    }, SUITE_TIMEOUT_MS);
    afterAll(async () => {
      await backend.close();
      await fixture.cleanUp();
    }, SUITE_TIMEOUT_MS);

    const generate = (algorithm: Algorithm): Promise<HardwareKey> =>
      backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm });

    it('describes itself: what it signs with, how sure that is, and why', async () => {
      const description = await backend.describe();
      expect(description.kind).toBe(fixture.kind);
      expect(description.state).toBe('ready');
      expect(description.fault).toBeUndefined();
      expect([...description.algorithms].sort()).toEqual([...fixture.algorithms].sort());
      // Hardware levels are the Verifier's to give, and a test environment is never more than software.
      expect(description.assurance).toBe('software');
      expect(description.assuranceReason).toMatch(/\S+ \S+/);
      expect(Object.keys(description.hardware).length).toBeGreaterThan(0);
    });

    for (const algorithm of ALGORITHMS) {
      it(`generates an ${algorithm} key and signs what node:crypto verifies, or refuses the algorithm by name`, async () => {
        if (!fixture.algorithms.includes(algorithm)) {
          await expectCode(generate(algorithm), 'unsupported_algorithm');
          return;
        }
        const key = await generate(algorithm);
        expect(key.algorithm).toBe(algorithm);
        expect(key.purpose).toBe('agent');
        expect(parsePublicJwk(key.publicJwk)).toEqual(key.publicJwk);
        for (const length of [0, 1, 200, 20_000]) {
          const octets = randomBytes(length);
          const signature = await backend.sign(key.keyId, { kind: 'message', octets });
          expect(verifyJose(key.publicJwk, octets, signature)).toBe(true);
          expect(verifyJose(key.publicJwk, Buffer.concat([octets, Buffer.of(0)]), signature)).toBe(false);
        }
      });

      it(`signs a digest by ${algorithm} as it signs the message, or refuses where the algorithm hashes itself`, async () => {
        if (!fixture.algorithms.includes(algorithm)) return;
        const { hash } = algorithmEntry(algorithm);
        const key = await generate(algorithm);
        const message = randomBytes(100);
        if (hash === undefined) {
          const digest: SignInput = { kind: 'digest', octets: randomBytes(32) };
          await expectCode(backend.sign(key.keyId, digest), 'unsupported_algorithm');
          return;
        }
        const octets = createHash(hash).update(message).digest();
        const signature = await backend.sign(key.keyId, { kind: 'digest', octets });
        expect(verifyJose(key.publicJwk, message, signature)).toBe(true);
        for (const wrong of [octets.subarray(1), Buffer.concat([octets, Buffer.of(0)]), Buffer.alloc(0)]) {
          await expectCode(backend.sign(key.keyId, { kind: 'digest', octets: wrong }), 'malformed_request');
        }
      });
    }

    it('gives every ECDSA signature its full length, however many leading zeros r and s have', async () => {
      for (const algorithm of ['ES256', 'ES384'] as const) {
        if (!fixture.algorithms.includes(algorithm)) continue;
        const key = await generate(algorithm);
        const length = algorithmEntry(algorithm).signatureOctets ?? 0;
        const messages = Array.from({ length: MANY_SIGNATURES }, () => randomBytes(32));
        const signatures = await inBatches(messages, 32, (octets) =>
          backend.sign(key.keyId, { kind: 'message', octets }),
        );
        expect(new Set(signatures.map((signature) => signature.length))).toEqual(new Set([length]));
        expect(
          messages.every((octets, index) => verifyJose(key.publicJwk, octets, at(signatures, index))),
        ).toBe(true);
      }
    });

    it('signs 64 requests at once, over several keys, each with its own octets', async () => {
      const keys = await inBatches(Array.from({ length: 4 }), 1, () => generate('ES256'));
      const jobs = Array.from({ length: 64 }, (_, index) => ({
        key: at(keys, index % 4),
        octets: randomBytes(64),
      }));
      const signatures = await Promise.all(
        jobs.map(({ key, octets }) => backend.sign(key.keyId, { kind: 'message', octets })),
      );
      expect(
        jobs.every(({ key, octets }, index) => verifyJose(key.publicJwk, octets, at(signatures, index))),
      ).toBe(true);
    });

    it('reads back that the key can not be exported, and no command takes it out', async () => {
      for (const algorithm of fixture.algorithms) {
        const key = await generate(algorithm);
        const protection = await backend.readProtection(key.keyId);
        expect(protection.exportable).toBe(false);
        expect(Object.keys(protection.attributes).length).toBeGreaterThanOrEqual(3);
        const attempts = await fixture.exportAttempts(key.keyId);
        expect(attempts.length).toBeGreaterThanOrEqual(2);
        expect(attempts.filter((attempt) => !attempt.refused)).toEqual([]);
      }
    });

    it('keeps the purpose with the key', async () => {
      const key = await backend.generate({ keyId: randomUUID(), purpose: 'audit', algorithm: 'ES256' });
      expect((await backend.find(key.keyId))?.purpose).toBe('audit');
      await backend.destroy(key.keyId);
    });

    it('refuses a second key under the same id and keeps the first', async () => {
      const key = await generate('ES256');
      await expectCode(
        backend.generate({ keyId: key.keyId, purpose: 'agent', algorithm: 'ES256' }),
        'conflict',
      );
      expect(await backend.find(key.keyId)).toEqual(key);
    });

    it('knows nothing of a key it does not hold', async () => {
      const keyId = randomUUID();
      expect(await backend.find(keyId)).toBeUndefined();
      expect((await backend.list()).map((key) => key.keyId)).not.toContain(keyId);
      await expectCode(backend.sign(keyId, { kind: 'message', octets: randomBytes(1) }), 'key_not_found');
      await expectCode(backend.readProtection(keyId), 'key_not_found');
    });

    it('refuses an id that is not a UUID instead of looking for it', async () => {
      for (const keyId of [
        '',
        '../etc/passwd',
        randomUUID().slice(1),
        `${randomUUID()}0`,
        randomUUID().toUpperCase(),
      ]) {
        await expectCode(
          backend.generate({ keyId, purpose: 'agent', algorithm: 'ES256' }),
          'malformed_request',
        );
        await expectCode(
          backend.sign(keyId, { kind: 'message', octets: randomBytes(1) }),
          'malformed_request',
        );
        await expectCode(backend.find(keyId), 'malformed_request');
        await expectCode(backend.destroy(keyId), 'malformed_request');
      }
    });

    it('S15: destroys a key, says what it erased, and does so again without complaint', async () => {
      const key = await generate('ES256');
      const kept = await generate('ES256');
      for (let round = 0; round < 2; round++) {
        const erasure = await backend.destroy(key.keyId);
        expect(erasure.erased).toBe(fixture.kind === 'tpm' ? 'local-copies' : 'hardware');
        expect(erasure.statement.length).toBeGreaterThan(20);
      }
      expect(await backend.find(key.keyId)).toBeUndefined();
      expect((await backend.list()).map((found) => found.keyId)).not.toContain(key.keyId);
      await expectCode(backend.sign(key.keyId, { kind: 'message', octets: randomBytes(1) }), 'key_not_found');
      expect(await backend.find(kept.keyId)).toEqual(kept);
    });

    it('signs nothing for a caller that is gone, and goes on for the others', async () => {
      const key = await generate('ES256');
      const input: SignInput = { kind: 'message', octets: randomBytes(32) };
      await expectCode(backend.sign(key.keyId, input, { signal: AbortSignal.abort() }), 'caller_gone');
      const deadline = new KeydError('deadline_exceeded', 'the deadline has passed');
      await expectCode(
        backend.sign(key.keyId, input, { signal: AbortSignal.abort(deadline) }),
        'deadline_exceeded',
      );
      const leaving = new AbortController();
      const gone = Array.from({ length: 200 }, () =>
        backend.sign(key.keyId, input, { signal: leaving.signal }),
      );
      const staying = backend.sign(key.keyId, input);
      leaving.abort();
      const outcomes = await Promise.allSettled(gone);
      const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(refused.length).toBeGreaterThan(0);
      expect(
        refused.every(({ reason }) => reason instanceof KeydError && reason.code === 'caller_gone'),
      ).toBe(true);
      expect(verifyJose(key.publicJwk, input.octets, await staying)).toBe(true);
    });

    it('finds every key again after the daemon and after the hardware restarted', async () => {
      const before = byId(await backend.list());
      expect(before.length).toBeGreaterThan(0);
      const stillSigns = async (): Promise<void> => {
        expect(byId(await backend.list())).toEqual(before);
        for (const algorithm of fixture.algorithms) {
          const key = before.find((candidate) => candidate.algorithm === algorithm);
          if (key === undefined) throw new Error(`no ${algorithm} key was made before this test`);
          const octets = randomBytes(50);
          const signature = await backend.sign(key.keyId, { kind: 'message', octets });
          expect(verifyJose(key.publicJwk, octets, signature)).toBe(true);
        }
      };
      await stillSigns();
      await backend.close();
      backend = await fixture.open();
      await stillSigns();
      await backend.close();
      await fixture.restartHardware();
      backend = await fixture.open();
      await stillSigns();
    });

    it('goes on by itself when the hardware restarts under it', async () => {
      const key = await generate('ES256');
      await fixture.restartHardware();
      const octets = randomBytes(50);
      await expect
        .poll(
          () => backend.sign(key.keyId, { kind: 'message', octets }).then(({ length }) => length, codeOf),
          {
            timeout: 20_000,
          },
        )
        .toBe(64);
      expect(await backend.find(key.keyId)).toEqual(key);
    });

    it('refuses calls after close', async () => {
      const closed = await fixture.open();
      await closed.close();
      await closed.close();
      await expectCode(
        closed.sign(randomUUID(), { kind: 'message', octets: randomBytes(1) }),
        'shutting_down',
      );
      expect((await closed.describe()).state).toBe('unavailable');
    });
  });
}

/** Asserts that a call rejects with a KeydError of this code. */
export async function expectCode(call: Promise<unknown>, code: ErrorCode): Promise<void> {
  await expect(call.then(() => 'resolved', codeOf)).resolves.toBe(code);
}

/** The code of a rejection, for comparing; anything but a KeydError is thrown on. */
export function codeOf(thrown: unknown): ErrorCode {
  if (thrown instanceof KeydError) return thrown.code;
  throw thrown;
}

/** Whether `signature`, in JOSE form, is by the key over the message: node:crypto only, none of our code. */
export function verifyJose(jwk: PublicJwk, message: Uint8Array, signature: Uint8Array): boolean {
  const key: KeyObject = createPublicKey({ key: { ...jwk }, format: 'jwk' });
  switch (jwk.alg) {
    case 'ES256':
      return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'ES384':
      return verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'Ed25519':
      return verify(null, message, key, signature);
    case 'RS256':
      return verify('sha256', message, key, signature);
    case 'PS256':
      return verify(
        'sha256',
        message,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
        signature,
      );
  }
}

function byId(keys: readonly HardwareKey[]): readonly HardwareKey[] {
  expect(new Set(keys.map((key) => jwkThumbprint(key.publicJwk))).size).toBe(keys.length);
  return [...keys].sort((a, b) => (a.keyId < b.keyId ? -1 : 1));
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new Error(`there is no item ${index}`);
  return item;
}

async function inBatches<T, R>(
  items: readonly T[],
  size: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += size) {
    results.push(...(await Promise.all(items.slice(start, start + size).map(work))));
  }
  return results;
}
