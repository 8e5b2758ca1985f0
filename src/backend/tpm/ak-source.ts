/** The AK: a restricted primary in the endorsement hierarchy, derived anew each boot. */
import { akTemplate } from '../../wire/tpm/templates.ts';
import type { ObjectSource } from './context-cache.ts';
import { PERMANENT, type SessionUse } from './esys.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { OpenTpm } from './tpm-connection.ts';

/** @param session what its auth value travels to the TPM in */
export function akSource({ esys }: OpenTpm, auths: AuthDeriver, session: SessionUse): ObjectSource {
  return {
    id: 'ak',
    slotsToLoad: 1,
    auth: () => auths.attestationKeyAuth(),
    load: async () => {
      const userAuth = auths.attestationKeyAuth();
      try {
        const { handle } = await esys.createPrimary({
          parent: PERMANENT.endorsement,
          inPublic: akTemplate(auths.attestationKeyUnique()),
          userAuth,
          sessions: [{ session: session.session, attributes: { decrypt: true, continueSession: true } }],
        });
        return handle;
      } finally {
        userAuth.fill(0);
      }
    },
  };
}
