import { asKeydError, KeydError } from '../../wire/problem.ts';
import { decodeUtf8 } from '../../wire/der.ts';
import type { ModuleHostClient } from './module-host-client.ts';
import { ModuleHostGone } from './module-host-faults.ts';
import { decodeMessage, encodeMessage, tokenReport, type TokenReport } from './module-host-messages.ts';
import { OPERATION } from './module-host-protocol.ts';
import type { ModuleHostTiming } from './module-host-supervisor.ts';
import type { Pkcs11BackendOptions } from './options.ts';
import type { PinGuard } from './pin-guard.ts';
import { isPinRefusal, ReturnValueFault } from './return-value.ts';

const MAX_PIN_OCTETS = 255;

/**
 * How a module host gets to its token: it finds it, the guard judges, and only then the PIN is sent, once to each
 * process; a token that comes back is logged in to with the PIN that the process holds (S17).
 */
export function tokenConnector(
  options: Pkcs11BackendOptions,
  guard: PinGuard,
  timing: ModuleHostTiming,
): (client: ModuleHostClient) => Promise<TokenReport> {
  const { module, tokenLabel, tokenSerial } = options;
  const request = encodeMessage({ module, tokenLabel, tokenSerial });
  // By process: the hash of the PIN that it holds.
  const held = new WeakMap<ModuleHostClient, string>();

  const login = async (client: ModuleHostClient, token: TokenReport): Promise<void> => {
    const pin = await readPin(options.pin);
    const hash = guard.hash(token, pin);
    await guard.permit(token, hash);
    const parts = held.get(client) === hash ? [] : [pin];
    held.delete(client);
    try {
      await client.call(OPERATION.login, parts, { timeoutMs: timing.callTimeoutMs, secret: true });
    } catch (thrown) {
      if (thrown instanceof ReturnValueFault && isPinRefusal(thrown.rv)) await guard.refused(hash);
      if (thrown instanceof ModuleHostGone && thrown.sent) guard.outcomeUnknown(hash);
      throw thrown;
    }
    guard.accepted(hash);
    held.set(client, hash);
  };

  return async (client) => {
    const reply = await client.call(OPERATION.connect, [request], { timeoutMs: timing.slowCallTimeoutMs });
    const token = readReport(client, reply);
    await guard.oneAtATime(() => login(client, token));
    return token;
  };
}

function readReport(client: ModuleHostClient, reply: Buffer): TokenReport {
  try {
    return decodeMessage(tokenReport, reply);
  } catch (thrown) {
    client.kill();
    const message = `The PKCS#11 module host answered garbage and was ended: ${asKeydError(thrown).message}`;
    throw new KeydError('backend_unavailable', message, { cause: thrown });
  }
}

async function readPin(pin: Pkcs11BackendOptions['pin']): Promise<Uint8Array> {
  let octets: Uint8Array;
  try {
    octets = typeof pin === 'function' ? await pin() : pin;
  } catch (thrown) {
    throw new KeydError('token_login_failed', `The PIN can not be read: ${asKeydError(thrown).message}`, {
      cause: thrown,
    });
  }
  // PKCS#11 takes CK_UTF8CHAR; an empty PIN would mean the one given before.
  if (octets.length === 0 || octets.length > MAX_PIN_OCTETS || decodeUtf8(octets) === undefined) {
    throw new KeydError('token_login_failed', `The PIN must be 1 to ${MAX_PIN_OCTETS} octets of UTF-8`);
  }
  return octets;
}
