import { startSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { describeSigning } from './interop.ts';

describeSigning(
  'typed signing over a swtpm',
  async () => {
    const swtpm = await startSwtpm();
    const backend = await new TpmHost(swtpm.tcti).open({ rsa: true });
    return {
      backend,
      cleanUp: async () => {
        await backend.close();
        await swtpm.stop();
      },
    };
  },
  ['ES256', 'ES384', 'RS256', 'PS256'],
);
