import { privateJson, type Route } from '../http/route.ts';
import type { IssuerContext } from '../issuer-context.ts';

/** The process answers. */
export const healthRoute: Route = {
  method: 'get',
  path: '/healthz',
  handle: () => Promise.resolve(privateJson({ status: 'ok' })),
};

/** The token can sign and the state can be read; 503 otherwise. */
export function readyRoute({ keys, store }: IssuerContext): Route {
  return {
    method: 'get',
    path: '/readyz',
    handle: async () => {
      await Promise.all([keys.check(), store.check()]);
      return privateJson({ status: 'ready' });
    },
  };
}
