import { isAbsolute } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import { KeydError } from '../../wire/problem.ts';
import type { RsaModulusBits } from './mechanisms.ts';
import type { ModuleHostTiming } from './module-host-supervisor.ts';
import { MIN_PIN_HASH_KEY_OCTETS, type PinFailureStore } from './pin-guard.ts';

/** How to reach one token. */
export interface Pkcs11BackendOptions {
  /** Absolute path of the vendor's PKCS#11 module. */
  readonly module: string;
  /** CKA label of the token; label or serial is needed, with both, both must match. */
  readonly tokenLabel?: string;
  readonly tokenSerial?: string;
  /** The user PIN, UTF-8; a function is asked again at each login, so that a changed PIN needs no restart. */
  readonly pin: Uint8Array | (() => Promise<Uint8Array>);
  /** Where refused PINs are remembered, over restarts and for all backends of this token. */
  readonly pinFailures: PinFailureStore;
  /** At least 32 secret octets that key the hashes in `pinFailures`; the same over restarts. */
  readonly pinHashKey: Uint8Array;
  /** Path for SOFTHSM2_CONF: the only environment variable that a module host gets. */
  readonly softhsm2Conf?: string;
  /** Module host processes, each with a session of its own; 1 if left out. */
  readonly processes?: number;
  /** User and group of the module hosts; the daemon's own if left out. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  /** Modulus of new RSA keys; 3072 if left out. */
  readonly rsaModulusBits?: RsaModulusBits;
  readonly logger?: Logger;
  readonly timing?: Partial<ModuleHostTiming>;
}

const MAX_PROCESSES = 64;
/** CK_TOKEN_INFO.label and serialNumber. */
const MAX_LABEL_OCTETS = 32;
const MAX_SERIAL_OCTETS = 16;

/** @throws KeydError `configuration_invalid` with every fault */
export function checkOptions(options: Pkcs11BackendOptions): void {
  const { module, tokenLabel, tokenSerial, processes, pinHashKey } = options;
  const faults: string[] = [];
  if (!isAbsolute(module)) faults.push('module must be an absolute path');
  if (tokenLabel === undefined && tokenSerial === undefined)
    faults.push('tokenLabel or tokenSerial is needed');
  if (tokenLabel !== undefined && !fits(tokenLabel, MAX_LABEL_OCTETS)) {
    faults.push(`tokenLabel must have 1 to ${MAX_LABEL_OCTETS} octets`);
  }
  if (tokenSerial !== undefined && !fits(tokenSerial, MAX_SERIAL_OCTETS)) {
    faults.push(`tokenSerial must have 1 to ${MAX_SERIAL_OCTETS} octets`);
  }
  if (
    processes !== undefined &&
    !(Number.isInteger(processes) && processes >= 1 && processes <= MAX_PROCESSES)
  ) {
    faults.push(`processes must be 1 to ${MAX_PROCESSES}`);
  }
  if (pinHashKey.length < MIN_PIN_HASH_KEY_OCTETS) {
    faults.push(`pinHashKey must have at least ${MIN_PIN_HASH_KEY_OCTETS} octets`);
  }
  if (faults.length > 0) {
    throw new KeydError('configuration_invalid', `The PKCS#11 configuration: ${faults.join('; ')}`, {
      faults,
    });
  }
}

function fits(text: string, maxOctets: number): boolean {
  const octets = Buffer.byteLength(text);
  return octets >= 1 && octets <= maxOctets;
}
