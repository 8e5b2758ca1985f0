/** Opens the configured backends, each behind its fair queue. */
import { hkdfSync } from 'node:crypto';
import type { Attester } from '../backend/attester.ts';
import type { CommandAudit } from '../backend/command-audit.ts';
import { MODULE_HOST_WINDOW } from '../backend/pkcs11/module-host-client.ts';
import { openPkcs11Backend } from '../backend/pkcs11/pkcs11-backend.ts';
import { openTpmBackend, type TpmBackend } from '../backend/tpm/tpm-backend.ts';
import { FairQueue, type FairQueueOptions } from '../base/fair-queue.ts';
import type { Logger } from '../base/logger.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import { asKeydError } from '../wire/problem.ts';
import { readSecretText } from './config-host.ts';
import type { DaemonConfig, QueueConfig } from './config.ts';
import { LaneCounter } from './lane-counter.ts';
import type { DaemonState } from './state/state.ts';

export interface OpenHardware {
  readonly lanes: readonly HardwareLane[];
  readonly tpm:
    | {
        readonly lane: HardwareLane;
        readonly attester: Attester;
        /** Takes the present TPM for this host's own. */
        readonly adopt: () => Promise<void>;
        /** Under ledger and audit log; undefined where the configuration leaves it out. */
        readonly counter: LaneCounter | undefined;
        /** Undefined where it is off. */
        readonly commandAudit: CommandAudit | undefined;
      }
    | undefined;
}

/** Making a key is rated apart from signing and happens one at a time (S20). */
export const KEY_GENERATION_QUEUE = {
  name: 'key generation',
  concurrency: 1,
  maxWaitingPerShare: 4,
  maxWaiting: 64,
  reservedWaiting: 4,
  expectedServiceMs: 500,
} as const;

/** Waiting places that only the daemon's own work may take (S20). */
const RESERVED_PLACES = 16;
/** First guesses, measured from then on: a discrete TPM takes 10 to 150 ms a signature. */
const EXPECTED_TPM_MS = 50;
/** Below this a command takes about as long as handing it over. */
const QUICK_TPM_MS = 5;
const QUICK_TPM_PLACES = 8;
/**
 * More than the way from one answer to the next command takes, on a host whose processor had gone to sleep, and than
 * one signature of a chip differs from the next.
 */
const SLOW_TPM_LEAD_MS = 5;
const EXPECTED_TOKEN_MS = 5;
const PIN_HASH_KEY_OCTETS = 32;

/**
 * Hardware that is absent is no error: its backend says so, and every call for it is refused by name.
 * @param secret the daemon secret
 * @throws KeydError `configuration_invalid`
 */
export async function openHardware(
  config: DaemonConfig,
  state: DaemonState,
  secret: Uint8Array,
  logger: Logger,
): Promise<OpenHardware> {
  const lanes: HardwareLane[] = [];
  let tpm: OpenHardware['tpm'];
  if (config.tpm !== undefined) {
    // What was kept of it holds until the next signature, which nobody counts where it is off.
    if (config.tpm.command_audit !== true) await state.commandAuditMemory.take();
    const backend = await openTpmBackend({
      tcti: config.tpm.tcti,
      secret,
      store: state.keyBlobs,
      memory: state.tpmMemory,
      // Hashes of secrets that hardware refused; those of PINs are keyed and can not meet these.
      refusedAuths: state.refusedPins,
      logger: logger.child({ room: 'tpm' }),
      rsa: config.tpm.allow_rsa ?? false,
      sessionProtection: config.tpm.session_protection ?? defaultProtection(config.tpm.tcti),
      ...(config.tpm.command_audit === true
        ? {
            commandAudit: {
              memory: state.commandAuditMemory,
              isShared: config.tpm.other_signers ?? false,
            },
          }
        : {}),
    });
    const lane = { backend, queue: laneQueue('the TPM', TPM_CONCURRENCY, EXPECTED_TPM_MS, config.queue) };
    lanes.push(lane);
    const { nvIndex } = config.ledger;
    const counter =
      nvIndex === undefined
        ? undefined
        : new LaneCounter(lane, backend.counter(state.counterMemory, nvIndex), state.counterMemory);
    const { attester, commandAudit } = backend;
    tpm = { lane, attester, adopt: () => adoptTpm(backend), counter, commandAudit };
  }
  if (config.pkcs11 !== undefined) {
    // Twice what a module host takes at a time: while one half is verified here, it signs the other.
    const places = (config.pkcs11.processes ?? 1) * 2 * MODULE_HOST_WINDOW;
    const backend = await openPkcs11Backend(pkcs11Options(config.pkcs11, state, secret, logger));
    lanes.push({
      backend,
      queue: laneQueue('the token', { concurrency: places }, EXPECTED_TOKEN_MS, config.queue),
    });
  }
  return { lanes, tpm };
}

/** Lets what is under way end, then lets go of TPM and token. */
export async function closeHardware({ lanes }: OpenHardware): Promise<void> {
  await Promise.all(lanes.map(({ queue }) => queue.close()));
  await Promise.all(lanes.map(({ backend }) => backend.close()));
}

/**
 * A TPM does one command at a time. Where one takes less time than the way here and back, a few are handed over at
 * once, so that it never waits for this process; a slow chip is handed its next shortly before it is done with one.
 * What it has not begun is taken back from whoever leaves (docs/decisions/0023).
 */
function tpmPlaces(serviceMs: number): number {
  return serviceMs < QUICK_TPM_MS ? QUICK_TPM_PLACES : 1;
}

function tpmLeadMs(serviceMs: number): number | undefined {
  return serviceMs < QUICK_TPM_MS ? undefined : SLOW_TPM_LEAD_MS;
}

const TPM_CONCURRENCY = { concurrency: tpmPlaces, leadMs: tpmLeadMs };

/** The host's own keys that were lost with the former TPM are made anew by whoever next needs them. */
async function adoptTpm(backend: TpmBackend): Promise<void> {
  await backend.adoptTpm();
  for (const { keyId, purpose } of await backend.list()) {
    if (purpose === 'agent') continue;
    try {
      await backend.readProtection(keyId);
    } catch (thrown) {
      if (asKeydError(thrown).code !== 'key_not_found') throw thrown;
      await backend.destroy(keyId);
    }
  }
}

/** A chip may have a bus that somebody reads; a simulator behind a Unix socket has none (docs/decisions/0006). */
export function defaultProtection(tcti: string): 'salted' | 'password' {
  return tcti.startsWith('swtpm:') || tcti.startsWith('mssim:') ? 'password' : 'salted';
}

function pkcs11Options(
  config: NonNullable<DaemonConfig['pkcs11']>,
  state: DaemonState,
  secret: Uint8Array,
  logger: Logger,
): Parameters<typeof openPkcs11Backend>[0] {
  const { module, token_label, token_serial, pin, softhsm2_conf, processes, rsa_modulus_bits, user, group } =
    config;
  return {
    module,
    ...(token_label === undefined ? {} : { tokenLabel: token_label }),
    ...(token_serial === undefined ? {} : { tokenSerial: token_serial }),
    ...(softhsm2_conf === undefined ? {} : { softhsm2Conf: softhsm2_conf }),
    ...(processes === undefined ? {} : { processes }),
    ...(rsa_modulus_bits === undefined ? {} : { rsaModulusBits: rsa_modulus_bits }),
    ...(user === undefined || group === undefined ? {} : { runAs: { uid: user, gid: group } }),
    // Read at each login, so that a changed PIN needs no restart.
    pin: () => Promise.resolve(readSecretText(pin.path)),
    pinFailures: state.refusedPins,
    pinHashKey: new Uint8Array(
      hkdfSync('sha256', secret, new Uint8Array(), 'agentkeyd/pin-hash/v1', PIN_HASH_KEY_OCTETS),
    ),
    logger: logger.child({ room: 'pkcs11' }),
  };
}

function laneQueue(
  name: string,
  concurrency: Pick<FairQueueOptions, 'concurrency' | 'leadMs'>,
  expectedServiceMs: number,
  { perShare, total }: QueueConfig,
): FairQueue {
  return new FairQueue({
    name,
    ...concurrency,
    maxWaitingPerShare: perShare,
    maxWaiting: total,
    reservedWaiting: RESERVED_PLACES,
    expectedServiceMs,
  });
}
