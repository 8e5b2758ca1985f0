/** The daemon's own way to hardware: the same fair queue as its callers', with places kept for it (S20). */
import type { Attester } from '../backend/attester.ts';
import type { KeyBackend } from '../backend/backend.ts';
import type { HardwareLane } from '../signing/hardware.ts';

const SHARE = 'agentkeyd';
/** Renewals have until the credential expires; this only ends what hangs. */
const TIMEOUT_MS = 120_000;

/** Runs work on the lane's hardware as the daemon's own, in its turn. */
export function internalTurn({ queue }: HardwareLane): <T>(work: () => Promise<T>) => Promise<T> {
  return (work) => queue.run({ share: SHARE, internal: true, timeoutMs: TIMEOUT_MS }, work);
}

/** `lane`'s backend, every call that reaches hardware waiting its turn as internal work. */
export function queuedBackend(lane: HardwareLane): KeyBackend {
  const { backend } = lane;
  const wait = internalTurn(lane);
  return {
    kind: backend.kind,
    describe: () => backend.describe(),
    generate: (request) => wait(() => backend.generate(request)),
    find: (keyId) => wait(() => backend.find(keyId)),
    list: () => wait(() => backend.list()),
    sign: (keyId, input, options) => wait(() => backend.sign(keyId, input, options)),
    readProtection: (keyId) => wait(() => backend.readProtection(keyId)),
    destroy: (keyId) => wait(() => backend.destroy(keyId)),
    close: () => backend.close(),
  };
}

/** As `queuedBackend`, for the attester of the lane's TPM. */
export function queuedAttester(lane: HardwareLane, attester: Attester): Attester {
  const wait = internalTurn(lane);
  return {
    identity: () => wait(() => attester.identity()),
    endorsementKeys: () => wait(() => attester.endorsementKeys()),
    attestationKey: () => wait(() => attester.attestationKey()),
    activateCredential: (template, idObject, encSecret) =>
      wait(() => attester.activateCredential(template, idObject, encSecret)),
    publicArea: (keyId) => wait(() => attester.publicArea(keyId)),
    certify: (keyId, qualifyingData) => wait(() => attester.certify(keyId, qualifyingData)),
    quote: (selection, qualifyingData) => wait(() => attester.quote(selection, qualifyingData)),
  };
}
