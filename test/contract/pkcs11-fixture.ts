import { ALGORITHMS } from '../../src/wire/algorithms.ts';
import type { Pkcs11Backend } from '../../src/backend/pkcs11/pkcs11-backend.ts';
import { pkcs11ExportAttempts } from '../support/pkcs11-exporter.ts';
import { makeSofthsm, processState } from '../support/softhsm.ts';
import type { BackendFixture } from './backend-contract.ts';

/** A SoftHSM token. Its library is its hardware: what lives outside the token directory dies with the module host. */
export async function pkcs11Fixture(processes: number): Promise<BackendFixture> {
  const hsm = await makeSofthsm();
  const opened: Pkcs11Backend[] = [];
  return {
    kind: 'pkcs11',
    algorithms: ALGORITHMS,
    async open() {
      const backend = await hsm.open({ processes });
      opened.push(backend);
      return backend;
    },
    async restartHardware() {
      const pids = opened.flatMap((backend) => backend.moduleHostPids());
      for (const pid of pids) {
        if ((await processState(pid)) !== undefined) process.kill(pid, 'SIGKILL');
      }
    },
    exportAttempts: (keyId) => pkcs11ExportAttempts(hsm, keyId),
    cleanUp: () => hsm.remove(),
  };
}
