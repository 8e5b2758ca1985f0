/** What a configuration says about this machine, looked up: groups, credentials, files and who may read them. */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { KeydError } from '../wire/problem.ts';

/** What the daemon reads secrets from: a systemd credential, or a file nobody else may read. */
export interface SecretSource {
  readonly path: string;
}

export interface ConfigHost {
  groupId(name: string): number | undefined;
  /** Path of a systemd credential; undefined where the unit loads none. */
  credentialPath(name: string): string | undefined;
  /** Why a file can not be used, or undefined. */
  fileFault(path: string): string | undefined;
  /** As `fileFault`, for a file of at least `minOctets` that nobody else may read. */
  secretFault(path: string, isCredential: boolean, minOctets: number): string | undefined;
}

const MAX_SECRET_OCTETS = 4096;
const GROUP_AND_OTHERS = 0o077;

export function localHost(env: NodeJS.ProcessEnv): ConfigHost {
  const credentials = env['CREDENTIALS_DIRECTORY'];
  return {
    groupId: (name) => (/^\d{1,10}$/.test(name) ? Number(name) : groupByName(name)),
    credentialPath: (name) => (credentials === undefined ? undefined : join(credentials, name)),
    fileFault,
    secretFault(path, isCredential, minOctets) {
      const unreadable = fileFault(path);
      if (unreadable !== undefined) return unreadable;
      const stats = statSync(path);
      if (!stats.isFile()) return `${path} is no regular file`;
      if (stats.size < minOctets || stats.size > MAX_SECRET_OCTETS) {
        return `${path} has ${stats.size} octets; ${minOctets} to ${MAX_SECRET_OCTETS} are accepted`;
      }
      // systemd itself guards a credential (its mode is 0440 in a directory of 0500).
      if (!isCredential && (stats.mode & GROUP_AND_OTHERS) !== 0) {
        return `${path} may be read or written by others (mode ${(stats.mode & 0o777).toString(8)}); chmod 0600 it`;
      }
      return undefined;
    },
  };
}

/** Octets of a secret that was checked before. @throws KeydError `configuration_invalid` */
export function readSecret(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new KeydError('configuration_invalid', `${path} can not be read`, { cause });
  }
}

/** Text of a secret, without the line end that editors and `echo` leave. */
export function readSecretText(path: string): Buffer {
  const octets = readSecret(path);
  return octets.at(-1) === 0x0a ? octets.subarray(0, -1) : octets;
}

function fileFault(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (thrown) {
    return `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? String(thrown)})`;
  }
}

/** From /etc/group: where systemd-sysusers and useradd put system groups. */
function groupByName(name: string): number | undefined {
  for (const line of readFileSync('/etc/group', 'utf8').split('\n')) {
    const [group, , gid] = line.split(':');
    if (group === name && gid !== undefined) return Number(gid);
  }
  return undefined;
}
