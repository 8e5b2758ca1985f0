import { importJWK, jwtVerify } from 'jose';
import type { Standing } from '../wire/issuance/enrolment.ts';
import type { IssuerMetadata } from '../wire/issuance/metadata.ts';
import { KeydError } from '../wire/problem.ts';

/**
 * The standing that came back is about this AK, and its Attestation Result is signed by the pinned EAR key.
 * @throws KeydError `issuer_refused`
 */
export async function checkStanding(standing: Standing, issuer: IssuerMetadata, akId: string): Promise<void> {
  if (standing.akId !== akId) {
    throw new KeydError('issuer_refused', 'the issuer answered with the standing of another AK');
  }
  const key = issuer.keys.ear;
  try {
    await jwtVerify(standing.ear, await importJWK({ ...key }), {
      algorithms: [key.alg],
      issuer: issuer.issuer,
    });
  } catch (thrown) {
    throw new KeydError('issuer_refused', 'the Attestation Result is not signed by the pinned EAR key', {
      cause: thrown,
    });
  }
}
