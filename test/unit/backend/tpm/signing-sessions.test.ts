import { describe, expect, it } from 'vitest';
import type { SignCommand } from '../../../../src/backend/tpm/hmac-session.ts';
import { MAX_SESSION_USES, SigningSessions } from '../../../../src/backend/tpm/signing-sessions.ts';

const COMMAND = {} as SignCommand;

class FakeSession {
  ended = 0;
  forgotten = 0;
  fault: Error | undefined;

  sign(): Promise<Buffer> {
    return this.fault === undefined ? Promise.resolve(Buffer.of(1)) : Promise.reject(this.fault);
  }

  forget(): void {
    this.forgotten += 1;
  }

  end(): Promise<void> {
    this.ended += 1;
    return Promise.reject(new TypeError('it is gone already'));
  }
}

describe('sessions for signing', () => {
  it('one is asked for at first, a second once two overlap, and no third', async () => {
    const sessions = new SigningSessions();
    expect([sessions.choose(), sessions.missing]).toEqual([undefined, 1]);
    sessions.add(new FakeSession());
    expect(sessions.missing).toBe(0);
    const gate = Promise.withResolvers<undefined>();
    const first = sessions.choose() ?? expect.fail();
    const running = [first.inTurn(() => gate.promise)];
    expect([sessions.choose(), sessions.missing]).toEqual([undefined, 1]);
    sessions.add(new FakeSession());
    const second = sessions.choose() ?? expect.fail();
    expect(second).not.toBe(first);
    running.push(second.inTurn(() => gate.promise));
    expect([sessions.choose() === undefined, sessions.missing]).toEqual([false, 0]);
    gate.resolve(undefined);
    await Promise.all(running);
  });

  it('with room for one, all wait for that one', () => {
    const sessions = new SigningSessions();
    sessions.add(new FakeSession());
    const place = sessions.choose() ?? expect.fail();
    void place.inTurn(() => Promise.withResolvers().promise);
    expect([sessions.choose(), sessions.missing]).toEqual([undefined, 1]);
    sessions.settle();
    expect(sessions.choose()).toBe(place);
    expect(sessions.missing).toBe(0);
  });

  it('sessions whose connection has ended are wiped, not ended, and who waited for one is told to take another', async () => {
    const sessions = new SigningSessions();
    const session = new FakeSession();
    sessions.add(session);
    const place = sessions.choose() ?? expect.fail();
    const gate = Promise.withResolvers<undefined>();
    const running = place.inTurn(() => gate.promise);
    const waiting = place.inTurn(() => Promise.resolve('run'));
    sessions.forget();
    gate.resolve(undefined);
    await running;
    expect(await waiting).toBeUndefined();
    expect([sessions.size, sessions.missing, session.forgotten, session.ended]).toEqual([0, 1, 1, 0]);
  });

  it('a session that faulted is ended, and who waited for it is told to take another', async () => {
    const sessions = new SigningSessions();
    const session = new FakeSession();
    session.fault = new RangeError('not the TPM');
    sessions.add(session);
    const place = sessions.choose() ?? expect.fail();
    const faulted = place.inTurn(() => place.sign(COMMAND));
    const waiting = place.inTurn(() => Promise.resolve('run'));
    await expect(faulted).rejects.toThrow('not the TPM');
    expect(await waiting).toBeUndefined();
    expect([session.ended, sessions.size, sessions.missing]).toEqual([1, 0, 1]);
  });

  it('a session is renewed after so many uses', async () => {
    const sessions = new SigningSessions();
    const session = new FakeSession();
    sessions.add(session);
    const place = sessions.choose() ?? expect.fail();
    for (let n = 0; n < MAX_SESSION_USES; n += 1) await place.sign(COMMAND);
    expect(sessions.choose()).toBeUndefined();
    expect(await place.inTurn(() => Promise.resolve('run'))).toBeUndefined();
    await sessions.endSpent();
    expect([session.ended, sessions.missing]).toEqual([1, 1]);
  });
});
