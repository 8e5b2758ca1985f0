import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EnrolledHost } from '../../../src/issuer/store/host-records.ts';
import type { IssuanceEntry } from '../../../src/issuer/store/issuance-log.ts';
import { openIssuerStore, type IssuerStore } from '../../../src/issuer/store/issuer-store.ts';
import type { Session, SessionCaps } from '../../../src/issuer/store/session-store.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const NOW = 1_800_000_000;
let temp: TempDir;
let store: IssuerStore;

beforeEach(async () => {
  temp = await makeTempDir();
  store = openIssuerStore(temp.path);
});
afterEach(async () => {
  store.close();
  await temp.remove();
});

/** What a crash and a new start leave. */
function reopen(): void {
  store.close();
  store = openIssuerStore(temp.path);
}

function sql(statement: string): void {
  const database = new DatabaseSync(join(temp.path, 'issuer.db'));
  try {
    database.exec(statement);
  } finally {
    database.close();
  }
}

describe('sessions', () => {
  const caps: SessionCaps = { perSubject: 2, perNetwork: 4, total: 6 };
  let count = 0;
  const session = (more: Partial<Session> = {}): Session => {
    count += 1;
    return {
      session: `session-${count}`,
      op: 'enroll',
      subject: 'ek-1',
      network: '192.0.2.0/24',
      challenge: 'a.b.c',
      data: { kept: true },
      expiresAtSeconds: NOW + 60,
      ...more,
    };
  };
  const open = (given: Session): Promise<string | undefined> =>
    codeOfAsync(() => store.sessions.open(given, caps, NOW));
  const take = (given: Session, subject?: string): Promise<string | undefined> =>
    codeOfAsync(() => store.sessions.take(given.session, given.op, subject, NOW));

  it('are taken once, with what they were opened with, also after a restart', async () => {
    const opened = session();
    await open(opened);
    reopen();
    expect(await store.sessions.take(opened.session, 'enroll', undefined, NOW)).toEqual(opened);
    expect(await take(opened)).toBe('session_unknown');
  });

  it('are unknown to another operation and another subject, and stay for the right one', async () => {
    const opened = session({ op: 'issue', subject: 'ak-1' });
    await open(opened);
    expect(await take({ ...opened, op: 'reattest' })).toBe('session_unknown');
    expect(await take(opened, 'ak-2')).toBe('session_unknown');
    expect(await take(opened, 'ak-1')).toBeUndefined();
  });

  it('end at their expiry, to the second', async () => {
    const opened = session({ expiresAtSeconds: NOW });
    await open(opened);
    expect(await take(opened)).toBe('session_unknown');
  });

  it('S20: of one subject and network the oldest gives way, and nobody else’s', async () => {
    const elsewhere = session({ network: '198.51.100.0/24' });
    const others = session({ subject: 'ek-2' });
    const oldest = session();
    const middle = session();
    const newest = session();
    for (const one of [elsewhere, others, oldest, middle, newest]) expect(await open(one)).toBeUndefined();
    expect(await take(oldest)).toBe('session_unknown');
    for (const one of [elsewhere, others, middle, newest]) expect(await take(one)).toBeUndefined();
  });

  it('S20: a network and the whole have their share; another operation has its own', async () => {
    for (let subject = 0; subject < 4; subject += 1) {
      expect(await open(session({ subject: `ek-${subject}` }))).toBeUndefined();
    }
    expect(await open(session({ subject: 'ek-9' }))).toBe('too_many_requests');
    expect(await open(session({ subject: 'ek-9', network: 'n2' }))).toBeUndefined();
    expect(await open(session({ subject: 'ek-8', network: 'n3' }))).toBeUndefined();
    expect(await open(session({ subject: 'ek-7', network: 'n4' }))).toBe('too_many_requests');
    expect(await open(session({ op: 'issue', subject: 'ak-1' }))).toBeUndefined();
    // What has expired makes room.
    const later = NOW + 61;
    await store.sessions.open(
      session({ subject: 'ek-7', network: 'n4', expiresAtSeconds: later + 60 }),
      caps,
      later,
    );
  });
});

describe('nonces', () => {
  const use = (thumbprint: string, nonce: string, now = NOW) =>
    codeOfAsync(() => store.nonces.use(thumbprint, nonce, now + 61, now));

  it('S4: are good once for each key, also after a restart, and forgotten when no signature can be fresh', async () => {
    expect(await use('key-1', 'nonce')).toBeUndefined();
    expect(await use('key-2', 'nonce')).toBeUndefined();
    reopen();
    expect(await use('key-1', 'nonce')).toBe('replayed');
    expect(await use('key-1', 'nonce', NOW + 60)).toBe('replayed');
    expect(await use('key-1', 'nonce', NOW + 61)).toBeUndefined();
  });
});

describe('agent names', () => {
  const bind = (hostLabel: string, name: string, agentId: string, keyThumbprint = agentId) =>
    codeOfAsync(() => store.issuances.bindAgent({ hostLabel, name, agentId, keyThumbprint }, NOW));

  it('S6: stay with their agent for ever', async () => {
    expect(await bind('web-1', 'pay', 'agent-1')).toBeUndefined();
    reopen();
    expect(await bind('web-1', 'pay', 'agent-1')).toBeUndefined();
    expect(await bind('web-1', 'pay', 'agent-2')).toBe('name_in_use');
    expect(await bind('web-1', 'mail', 'agent-1')).toBe('name_in_use');
    expect(await bind('web-2', 'pay', 'agent-2')).toBeUndefined();
  });

  it('S1: a key that is another agent’s binds no name either', async () => {
    expect(await bind('web-1', 'pay', 'agent-1', 'key')).toBeUndefined();
    expect(await bind('web-2', 'mail', 'agent-2', 'key')).toBe('conflict');
    expect(await bind('web-2', 'mail', 'agent-3', 'another')).toBeUndefined();
  });

  it('S6: can not be freed or given on, not in SQL either', async () => {
    await bind('web-1', 'pay', 'agent-1');
    expect(() => {
      sql('DELETE FROM agent_names');
    }).toThrow(/never freed/);
    expect(() => {
      sql("UPDATE agent_names SET agent_id = 'agent-2'");
    }).toThrow(/never bound again/);
  });
});

describe('the issuance log', () => {
  const entry = (more: Partial<IssuanceEntry> = {}): IssuanceEntry => ({
    issuedAtSeconds: NOW,
    expiresAtSeconds: NOW + 3600,
    akId: 'ak',
    ekHash: 'ek',
    hostLabel: 'web-1',
    principal: 'ops@example.org',
    agentId: 'agent-1',
    name: 'pay',
    spiffeId: 'spiffe://example/agent/web-1/pay',
    keyThumbprint: 'thumbprint',
    assurance: 'hw-key',
    evidenceSha256: 'hash',
    earSha256: 'hash',
    ...more,
  });

  it('S14: numbers its entries in order and gives back what went in', async () => {
    expect(await store.issuances.append(entry())).toBe(1);
    reopen();
    expect(await store.issuances.append(entry({ name: 'mail', x509Sha256: 'x' }))).toBe(2);
    expect(await store.issuances.read(2, 10)).toEqual([
      { sequence: 2, entry: entry({ name: 'mail', x509Sha256: 'x' }) },
    ]);
    expect(await store.issuances.read(1, 1)).toHaveLength(1);
  });

  it('S14: is append-only, not only by habit', async () => {
    await store.issuances.append(entry());
    for (const statement of ['DELETE FROM issuances', "UPDATE issuances SET entry = '{}'"]) {
      expect(() => {
        sql(statement);
      }).toThrow(/append-only/);
    }
    expect(await store.issuances.read(1, 10)).toHaveLength(1);
  });

  it('counts by host and time', async () => {
    await store.issuances.append(entry({ issuedAtSeconds: NOW - 3601 }));
    await store.issuances.append(entry());
    await store.issuances.append(entry({ hostLabel: 'web-2' }));
    expect(await store.issuances.countSince('web-1', NOW - 3600)).toBe(1);
  });
});

describe('hosts', () => {
  const host = (more: Partial<EnrolledHost> = {}): EnrolledHost => ({
    akId: 'ak-1',
    ekHash: 'a'.repeat(64),
    akPublic: new Uint8Array([1, 2, 3]),
    hostKey,
    auditKey,
    nvPublic: new Uint8Array([4, 5]),
    endorsement: {
      kind: 'vendor',
      vendor: 'Infineon',
      rootName: 'root',
      rootSha256: 'b'.repeat(64),
      ekCertificateSha256: 'c'.repeat(64),
      tpm: {
        manufacturer: 'id:49465800',
        model: 'SLB9670',
        version: 'id:0007',
        family: '2.0',
        level: 0,
        revision: 138,
      },
    },
    boot: { resetCount: 3, restartCount: 1, clock: 2n ** 60n, safe: true, firmwareVersion: 2n ** 63n },
    assurance: 'hw-key',
    developmentPolicy: undefined,
    ear: 'a.b.c',
    enrolledAtSeconds: NOW,
    attestedAtSeconds: NOW,
    standingEndsAtSeconds: NOW + 3600,
    ...more,
  });
  const { jwk: hostKey, thumbprint } = testKey();
  const auditKey = testKey().jwk;

  it('are found by AK, EK and host key, with 64-bit counts as they were', async () => {
    await store.hosts.enrol(host());
    reopen();
    expect(await store.hosts.byAk('ak-1')).toEqual(host());
    expect((await store.hosts.byHostKey(thumbprint))?.akId).toBe('ak-1');
    expect((await store.hosts.byEk('a'.repeat(64)))?.boot.firmwareVersion).toBe(2n ** 63n);
    expect(await store.hosts.byHostKey('other')).toBeUndefined();
  });

  it('that enrol again lose their old AK and host key', async () => {
    await store.hosts.enrol(host());
    const renewed = testKey();
    await store.hosts.enrol(host({ akId: 'ak-2', hostKey: renewed.jwk }));
    expect(await store.hosts.byAk('ak-1')).toBeUndefined();
    expect(await store.hosts.byHostKey(thumbprint)).toBeUndefined();
    expect((await store.hosts.byHostKey(renewed.thumbprint))?.akId).toBe('ak-2');
    // A re-attestation that was on its way is void.
    expect(await store.hosts.renewStanding(host(), thumbprint)).toBe(false);
  });

  it('have a boot state that never goes back', async () => {
    await store.hosts.enrol(host());
    const boot = host().boot;
    await store.hosts.rememberBoot('ak-1', { ...boot, clock: boot.clock + 5n });
    await store.hosts.rememberBoot('ak-1', { ...boot, clock: boot.clock + 2n });
    expect((await store.hosts.byAk('ak-1'))?.boot.clock).toBe(boot.clock + 5n);
    await store.hosts.rememberBoot('ak-1', { ...boot, resetCount: 4, restartCount: 0, clock: 1n });
    expect((await store.hosts.byAk('ak-1'))?.boot.resetCount).toBe(4);
  });

  it('keep a standing that was ended as ended', async () => {
    await store.hosts.enrol(host());
    await store.hosts.endStanding('ak-1', NOW + 10);
    await store.hosts.endStanding('ak-1', NOW + 20);
    expect((await store.hosts.byAk('ak-1'))?.standingEndsAtSeconds).toBe(NOW + 10);
  });

  it('S20: nobody fills the list of those who asked for others', async () => {
    const note = (ek: string, network: string, now = NOW) =>
      store.hosts.noteUnapproved(ek, network, 'a TPM', now);
    for (let index = 0; index < 20; index += 1) await note(`flood-${index}`, 'n1');
    expect(await store.hosts.listUnapproved()).toHaveLength(8);
    await note('honest', 'n2');
    await note('flood-0', 'n1', NOW + 5);
    const list = await store.hosts.listUnapproved();
    expect(list).toHaveLength(9);
    expect(list.find(({ ekHash }) => ekHash === 'flood-0')).toMatchObject({
      firstSeenAtSeconds: NOW,
      lastSeenAtSeconds: NOW + 5,
    });
    await note('later', 'n1', NOW + 8 * 86_400);
    expect((await store.hosts.listUnapproved()).map(({ ekHash }) => ekHash)).toEqual(['later']);
  });

  it('that are damaged on disk are named as damage, never guessed', async () => {
    await store.hosts.enrol(host());
    sql("UPDATE hosts SET boot = '{}'");
    expect(await codeOfAsync(() => store.hosts.byAk('ak-1'))).toBe('internal');
  });
});
