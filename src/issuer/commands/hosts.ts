/** `hosts list`, `hosts approve`: who may enrol, who has, and who asked. */
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { stringify } from 'smol-toml';
import { KeydError } from '../../wire/problem.ts';
import type { IssuerConfig } from '../config.ts';
import { checkHostsText, HostRegistry } from '../host-registry.ts';
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
      return { label, ekSha256: ekHash, namePatterns, principal, standing };
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

/** A host's own words on an operator's terminal: no control characters. */
function printable(text: string): string {
  return JSON.stringify(text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80));
}
