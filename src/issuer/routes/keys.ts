import { JWKS_PATHS, X509_BUNDLE_PATH } from '../../wire/issuance/metadata.ts';
import { jwkThumbprint } from '../../wire/jwk.ts';
import type { Route } from '../http/route.ts';
import type { IssuerContext } from '../issuer-context.ts';

const MAX_AGE_SECONDS = 300;

/** One JWK Set for each purpose: a verifier that fetches by purpose can not mistake one key for another (S14). */
export function jwksRoutes({ keys }: IssuerContext): readonly Route[] {
  const purposes = Object.keys(JWKS_PATHS) as readonly (keyof typeof JWKS_PATHS)[];
  return purposes.map((purpose): Route => {
    const jwk = keys.publicJwk(purpose);
    const body = { keys: [{ ...jwk, kid: jwkThumbprint(jwk), use: 'sig' }] };
    return {
      method: 'get',
      path: JWKS_PATHS[purpose],
      handle: () =>
        Promise.resolve({ contentType: 'application/jwk-set+json', body, maxAgeSeconds: MAX_AGE_SECONDS }),
    };
  });
}

/** The trust bundle of the X.509 CA. */
export function x509BundleRoute({ authority }: IssuerContext): Route {
  return {
    method: 'get',
    path: X509_BUNDLE_PATH,
    handle: () =>
      Promise.resolve({
        contentType: 'application/x-pem-file',
        body: authority.rootPem,
        maxAgeSeconds: MAX_AGE_SECONDS,
      }),
  };
}
