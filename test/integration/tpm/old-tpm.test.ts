/** A TPM before revision 1.38, which has no TPM2_CreateLoaded: a swtpm behind a relay that makes the command unknown. */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { commandCode, startTpmRelay } from '../../../scripts/sandbox/tpm-relay.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { startSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';

const TPM_CC_CREATE = 0x153;
const TPM_CC_CREATE_LOADED = 0x191;
/** Of no command there is. */
const TPM_CC_UNKNOWN = 0x1f0;

it('makes keys by TPM2_Create where TPM2_CreateLoaded is not known', { timeout: 60_000 }, async () => {
  const swtpm = await startSwtpm();
  const codes: number[] = [];
  const relay = await startTpmRelay({
    tpmSocket: swtpm.tcti.replace('swtpm:path=', ''),
    socket: join(swtpm.dir, 'relay'),
    onCommand: (command) => {
      codes.push(commandCode(command));
      if (commandCode(command) !== TPM_CC_CREATE_LOADED) return undefined;
      const unknown = Buffer.from(command);
      unknown.writeUInt32BE(TPM_CC_UNKNOWN, 6);
      return { command: unknown, answer: (response) => Promise.resolve(response) };
    },
  });
  const backend = await new TpmHost(relay.tcti).open({});
  try {
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    expect(codes).toEqual(expect.arrayContaining([TPM_CC_CREATE_LOADED, TPM_CC_CREATE]));
    const octets = randomBytes(40);
    const signature = await backend.sign(key.keyId, { kind: 'message', octets });
    expect(verifySignature(key.publicJwk, octets, signature)).toBe(true);
  } finally {
    await backend.close();
    await relay.stop();
    await swtpm.stop();
  }
});
