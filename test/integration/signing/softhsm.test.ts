import { makeSofthsm } from '../../support/softhsm.ts';
import { describeSigning } from './interop.ts';

describeSigning(
  'typed signing over a SoftHSM token',
  async () => {
    const token = await makeSofthsm();
    const backend = await token.open();
    return {
      backend,
      cleanUp: async () => {
        await backend.close();
        await token.remove();
      },
    };
  },
  ['ES256', 'ES384', 'Ed25519', 'RS256', 'PS256'],
);
