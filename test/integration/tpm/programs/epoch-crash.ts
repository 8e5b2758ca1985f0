/** Spends from a ledger on a TPM's counter, and kills itself at the step that it is told. */
import { writeSync } from 'node:fs';
import { openCountedLedger } from '../../../support/counted-ledger.ts';

interface Work {
  readonly tcti: string;
  readonly secret: string;
  readonly stateDirectory: string;
  readonly killAt: string;
}

const { tcti, secret, stateDirectory, killAt } = JSON.parse(process.argv[2] ?? '{}') as Work;
let isArmed = false;
const { ledger } = await openCountedLedger({
  tcti,
  secret: Buffer.from(secret, 'base64url'),
  stateDirectory,
  leases: new Map([['USD.2', 10n]]),
  fault: (step) => {
    if (isArmed && step === killAt) process.kill(process.pid, 'SIGKILL');
  },
});
await ledger.openGrant('grant:g', new Map([['USD.2', 100n]]));
const reserve = () =>
  ledger.reserve({ account: 'grant:g', grantId: 'g', agentId: 'a' }, [
    { kind: 'budget', unit: 'USD.2', amount: 3n },
  ]).durable;
await reserve();
writeSync(1, `${ledger.state().epoch}\n`);
isArmed = true;
await ledger.anchor();
await reserve();
process.exit(1);
