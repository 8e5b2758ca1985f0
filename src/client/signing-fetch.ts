/** A drop-in `fetch` that signs: what leaves is exactly what was described to the daemon. */
import { KeydError } from '../wire/problem.ts';
import type { ProfileName } from '../wire/profiles.ts';
import { MAX_BODY_OCTETS } from '../wire/socket/signing.ts';
import type { MessageIntent } from '../wire/socket/intent.ts';
import type { ApprovalOptions } from './approvals.ts';
import { settleBy, type HttpMessageSigner, type SettlementOutcome } from './settlement.ts';

const MAX_REDIRECTS = 5;

export interface SigningFetchOptions extends Pick<ApprovalOptions, 'waitForApproval' | 'onApproval'> {
  /** Default `rfc9421`. */
  readonly profile?: ProfileName;
  /** Headers to attach besides, made anew for each request (a WIT, say). */
  readonly attach?: () => Promise<Readonly<Record<string, string>>>;
  /**
   * Settles what a request has cost where its server says so in a signed answer of known length, at most 1 MiB, before
   * the answer is given; told what came of it. Without it nothing is settled, and every request stays spent in full.
   */
  readonly onSettlement?: (outcome: SettlementOutcome) => void;
  /** What the requests are for; with `disclose` the server is told, under the signature. */
  readonly intent?: MessageIntent;
  /** The fetch that sends; default the global one. */
  readonly fetch?: typeof fetch;
}

/** @returns a function with the signature of the global `fetch` */
export function signingFetch(signer: HttpMessageSigner, options: SigningFetchOptions): typeof fetch {
  const send = options.fetch ?? fetch;
  const { onApproval, waitForApproval = false } = options;
  const approval = { waitForApproval, ...(onApproval === undefined ? {} : { onApproval }) };
  return async (input, init) => {
    const wanted = new Request(input, init);
    let body = await readBody(wanted);
    let method: string = wanted.method;
    // A fragment is the caller's own business: it is neither sent nor signed.
    let url = withoutFragment(wanted.url);
    for (let hops = 0; ; hops += 1) {
      const headers = new Headers(wanted.headers);
      for (const [name, value] of Object.entries((await options.attach?.()) ?? {})) headers.set(name, value);
      if (body === undefined) headers.delete('content-type');
      const signed = await signer.signMessage(
        {
          profile: options.profile ?? 'rfc9421',
          method,
          targetUri: url,
          headers: [...headers],
          ...(body === undefined ? {} : { body }),
          ...(options.intent === undefined ? {} : { intent: options.intent }),
        },
        { ...approval, signal: wanted.signal },
      );
      for (const [name, value] of Object.entries(signed.headers)) headers.set(name, value);
      // The signature is for this URL: a redirect is followed here, signed anew, or not at all.
      const response = await send(url, {
        method,
        headers,
        body: body === undefined ? null : Buffer.from(body),
        redirect: 'manual',
        signal: wanted.signal,
      });
      if (options.onSettlement !== undefined && signed.reservation !== undefined) {
        const outcome = await settleBy(signer, signed.reservation, response);
        if (outcome !== undefined) options.onSettlement(outcome);
      }
      const next = redirectTarget(response, url, wanted.redirect, hops);
      if (next === undefined) return response;
      await response.body?.cancel();
      if (response.status === 303 || (response.status < 303 && method === 'POST')) {
        method = method === 'HEAD' ? 'HEAD' : 'GET';
        body = undefined;
      }
      url = withoutFragment(next);
    }
  };
}

/** The whole body, or undefined where there is none; a stream is read up to the bound. */
async function readBody(request: Request): Promise<Uint8Array | undefined> {
  if (request.body === null) return undefined;
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body as AsyncIterable<Uint8Array>) {
    total += chunk.length;
    if (total > MAX_BODY_OCTETS) {
      throw new KeydError(
        'body_too_large',
        `the body is longer than ${MAX_BODY_OCTETS} octets; its digest is signed, so it is not streamed. Send a reference or smaller parts`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function withoutFragment(url: string): string {
  return url.replace(/#.*$/s, '');
}

function redirectTarget(
  response: Response,
  from: string,
  mode: Request['redirect'],
  hops: number,
): string | undefined {
  const location = response.headers.get('location');
  if (![301, 302, 303, 307, 308].includes(response.status) || location === null || mode === 'manual')
    return undefined;
  const next = new URL(location, from);
  // Signed headers, tokens among them, are for the origin the caller named.
  if (mode === 'error' || hops >= MAX_REDIRECTS || next.origin !== new URL(from).origin) {
    throw new KeydError(
      'verification_failed',
      `${from} redirects to ${next.origin}${next.pathname}, which is not followed; ask for that URL yourself if you mean it`,
    );
  }
  return next.href;
}
