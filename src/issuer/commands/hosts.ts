/** `hosts list`, `hosts approve`, `hosts accept-rollback`: who may enrol, who has, and who asked. */
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { stringify } from 'smol-toml';
import { KeydError } from '../../wire/problem.ts';
import type { IssuerConfig } from '../config.ts';
import { checkHostsText, HostRegistry } from '../host-registry.ts';
import type { SeenWitness } from '../store/witness-store.ts';
import { openIssuerStore } from '../store/issuer-store.ts';
import { isoTime, type Output } from './output.ts';

/** What `hosts approve` is told. */
export interface Approval {
  readonly ekSha256: string;
  readonly label: string;
  readonly namePatterns: readonly string[];
  readonly principal: string;
  readonly maxTtlSeconds: number | undefined;
}

export async function listHosts(config: IssuerConfig, output: Output, json: boolean): Promise<void> {
  const approved = new HostRegistry(config.hostsFile, config.lifetimes.credentialSeconds).list();
  const store = openIssuerStore(config.stateDirectory);
  try {
    const enrolled = new Map((await store.hosts.list()).map((host) => [host.ekHash, host]));
    const waiting = await store.hosts.listUnapproved();
    const witnesses = new Map<string, SeenWitness>();
    for (const { ekHash } of approved) {
      const seen = await store.witnesses.byEk(ekHash);
      if (seen !== undefined) witnesses.set(ekHash, seen);
    }
    const hosts = approved.map(({ ekHash, label, namePatterns, principal }) => {
      const host = enrolled.get(ekHash);
      const standing =
        host === undefined
          ? null
          : {
              akId: host.akId,
              assurance: host.assurance,
              developmentPolicy: host.developmentPolicy ?? null,
              attestedAt: isoTime(host.attestedAtSeconds),
              standingEndsAt: isoTime(host.standingEndsAtSeconds),
            };
      const logs = witnessed(witnesses.get(ekHash));
      return { label, ekSha256: ekHash, namePatterns, principal, standing, logs };
    });
    const unapproved = waiting
      .filter(({ ekHash }) => approved.every((host) => host.ekHash !== ekHash))
      .map(({ ekHash, network, tpm, firstSeenAtSeconds, lastSeenAtSeconds }) => ({
        ekSha256: ekHash,
        network,
        tpm,
        firstSeenAt: isoTime(firstSeenAtSeconds),
        lastSeenAt: isoTime(lastSeenAtSeconds),
      }));
    if (json) {
      output.line(JSON.stringify({ hosts, unapproved }));
      return;
    }
    for (const { label, ekSha256, standing } of hosts) {
      const state =
        standing === null
          ? 'not enrolled'
          : `${standing.assurance}, standing ends ${standing.standingEndsAt}`;
      output.line(`approved    ${ekSha256}  ${label}: ${state}`);
    }
    for (const { ekSha256, network, tpm, lastSeenAt } of unapproved) {
      output.line(
        `unapproved  ${ekSha256}  from ${network}, last asked ${lastSeenAt}; says it is ${printable(tpm)}`,
      );
    }
    if (hosts.length + unapproved.length === 0) output.line('no host is approved and none has asked');
  } finally {
    store.close();
  }
}

/**
 * Appends the host to hosts.toml; the whole file is checked before it takes the old one's place.
 * @throws KeydError `configuration_invalid`, also where EK or label is there already
 */
export function approveHost(config: IssuerConfig, approval: Approval, output: Output): void {
  const file = config.hostsFile;
  const table = {
    host: [
      {
        label: approval.label,
        ek_sha256: approval.ekSha256,
        name_patterns: approval.namePatterns,
        principal: approval.principal,
        ...(approval.maxTtlSeconds === undefined ? {} : { max_ttl_seconds: approval.maxTtlSeconds }),
      },
    ],
  };
  let before: string;
  let mode: number;
  try {
    before = readFileSync(file, 'utf8');
    mode = statSync(file).mode & 0o777;
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${file} can not be read`, { cause });
  }
  const after = `${before.trimEnd()}\n\n${stringify(table)}`;
  checkHostsText(after, file);
  const temporary = `${file}.new`;
  writeFileSync(temporary, after, { mode, flush: true });
  renameSync(temporary, file);
  output.line(`${approval.label} is approved; a running issuer takes it with SIGHUP (systemctl reload)`);
}

/**
 * What was seen of a host's logs is forgotten, on record; the next that the host shows is taken as it is (S8). It
 * counts at once, also for an issuer that runs.
 * @param host label or EK hash
 * @throws KeydError `not_found` where no such host is approved, or nothing was seen of it
 */
export async function acceptRollback(config: IssuerConfig, host: string, output: Output): Promise<void> {
  const approved = new HostRegistry(config.hostsFile, config.lifetimes.credentialSeconds)
    .list()
    .find(({ label, ekHash }) => label === host || ekHash === host);
  if (approved === undefined) throw new KeydError('not_found', `no approved host is ${host}`);
  const store = openIssuerStore(config.stateDirectory);
  try {
    const by = `uid ${process.getuid?.() ?? 'unknown'}`;
    const accepted = await store.witnesses.accept(approved.ekHash, by, Math.floor(Date.now() / 1000));
    if (!accepted) throw new KeydError('not_found', `nothing was seen of the logs of ${approved.label} yet`);
  } finally {
    store.close();
  }
  output.line(`what ${approved.label} shows of its logs next is taken as it is`);
}

/** What was last seen of a host's logs. */
function witnessed(seen: SeenWitness | undefined): object | null {
  if (seen === undefined) return null;
  const { epoch, auditSize, isCounted, seenAtSeconds } = seen;
  return { epoch, auditSize, byTpmCounter: isCounted, seenAt: isoTime(seenAtSeconds) };
}

/** A host's own words on an operator's terminal: no control characters. */
function printable(text: string): string {
  return JSON.stringify(text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80));
}
