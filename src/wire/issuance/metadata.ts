/** What an issuer publishes about itself; a daemon pins it at enrolment. */
import { object, oneOf, text, type Infer, type Shape } from '../check.ts';
import { parsePublicJwk, type PublicJwk } from '../jwk.ts';
import { CHANNEL_BINDINGS } from './challenge.ts';

export const METADATA_PATH = '/.well-known/agentkey-issuer';
/** AAuth agent provider metadata. */
export const AAUTH_METADATA_PATH = '/.well-known/aauth-agent.json';

const jwk: Shape<PublicJwk> = (value, path) => parsePublicJwk(value, path);

/** One key per purpose (DECISIONS 12); verifiers select by purpose, never by `kid` alone. */
export const issuerMetadata = object({
  issuer: text({ maxLength: 512 }),
  trustDomain: text({ maxLength: 253 }),
  aauthDomain: text({ maxLength: 253 }),
  channelBinding: oneOf(CHANNEL_BINDINGS),
  keys: object({ challenge: jwk, wit: jwk, agentToken: jwk, ear: jwk, status: jwk, grant: jwk }),
  /** Certificate of the X.509 CA, PEM. */
  x509Ca: text({ maxLength: 16_384 }),
});
export type IssuerMetadata = Infer<typeof issuerMetadata>;

/** Certificate of the X.509 CA, PEM. */
export const X509_BUNDLE_PATH = '/v1/x509/bundle.pem';
/** JWK Sets (RFC 7517 §5), one for each purpose, every key with `alg`, `kid` and `use`. */
export const JWKS_PATHS = {
  challenge: '/v1/keys/challenge.json',
  wit: '/v1/keys/wit.json',
  agentToken: '/v1/keys/agent-token.json',
  ear: '/v1/keys/ear.json',
  status: '/v1/keys/status.json',
  grant: '/v1/keys/grant.json',
} as const;
