import {
  AAUTH_METADATA_PATH,
  JWKS_PATHS,
  METADATA_PATH,
  type IssuerMetadata,
} from '../../wire/issuance/metadata.ts';
import type { Route, RouteAnswer } from '../http/route.ts';
import type { IssuerContext } from '../issuer-context.ts';

const MAX_AGE_SECONDS = 300;

/** What a daemon pins at enrolment. */
export function metadataRoute(context: IssuerContext): Route {
  const { config, keys, authority } = context;
  const metadata: IssuerMetadata = {
    issuer: config.issuer,
    trustDomain: config.trustDomain,
    aauthDomain: config.aauthDomain,
    channelBinding: config.channelBinding,
    keys: {
      challenge: keys.publicJwk('challenge'),
      wit: keys.publicJwk('wit'),
      agentToken: keys.publicJwk('agentToken'),
      ear: keys.publicJwk('ear'),
      status: keys.publicJwk('status'),
      grant: keys.publicJwk('grant'),
    },
    x509Ca: authority.rootPem,
  };
  return { method: 'get', path: METADATA_PATH, handle: () => Promise.resolve(publicJson(metadata)) };
}

/** AAuth agent provider metadata: where resources and person servers find the agent token key. */
export function aauthMetadataRoute({ config }: IssuerContext): Route {
  const metadata = {
    issuer: config.issuer,
    jwks_uri: config.url + JWKS_PATHS.agentToken,
    client_name: `agents of ${config.aauthDomain}`,
  };
  return { method: 'get', path: AAUTH_METADATA_PATH, handle: () => Promise.resolve(publicJson(metadata)) };
}

function publicJson(body: unknown): RouteAnswer {
  return { contentType: 'application/json', body, maxAgeSeconds: MAX_AGE_SECONDS };
}
