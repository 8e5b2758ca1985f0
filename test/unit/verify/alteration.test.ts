import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { agentToken, signatureKeyField, signedRequest, wit } from '../../support/signed-request.ts';
import {
  agent,
  body,
  issuers,
  nowSeconds,
  provider,
  verifier,
  witIssuer,
} from '../../support/verifying-requests.ts';

// By the issuers' credentials alone; every nonce is fresh, so that only the cryptography decides.
const verifying = verifier({ credentials: issuers, nonceStore: { claim: () => Promise.resolve(true) } });

const headers = [['Content-Type', 'application/json'], ['Idempotency-Key', 'k1']] as const; // prettier-ignore
const requests = {
  rfc9421: signedRequest({
    profile: 'rfc9421',
    key: agent,
    nowSeconds,
    body,
    headers: [...headers, ['Workload-Identity-Token', wit(witIssuer, agent, { nowSeconds })]],
  }),
  aauth: signedRequest({
    profile: 'aauth',
    key: agent,
    nowSeconds,
    body,
    headers: [...headers, signatureKeyField(agentToken(provider, agent, { nowSeconds }))],
  }),
};

/** One character of `text` replaced by another printable one. */
function flip(text: string, at: number, by: number): string {
  const index = at % text.length;
  const code = text.charCodeAt(index);
  return (
    text.slice(0, index) +
    String.fromCharCode(0x21 + ((code - 0x21 + 1 + (by % 93)) % 94)) +
    text.slice(index + 1)
  );
}

describe.each(['rfc9421', 'aauth'] as const)('profile %s', (profile) => {
  const request = requests[profile];

  it('accepts the request as it was signed', async () => {
    expect((await verifying.verify(request)).profile).toBe(profile);
  });

  it('S7: refuses it with any one character of method, target, any header value or the body changed', async () => {
    const natural = fc.nat({ max: 100_000 });
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: headers.length + 6 }), natural, natural, async (where, at, by) => {
        const altered = alter(request, where, at, by);
        // Padding bits of base64 aside, which strict decoding refuses, there is no second spelling.
        expect(await codeOfAsync(() => verifying.verify(altered))).toMatch(
          /^(?:\w+_invalid|verification_failed|invalid_\w+|malformed_\w+)$/,
        );
      }),
      { numRuns: 400 },
    );
  });

  it('S7: refuses it with any header line left out', async () => {
    for (const [index, [name]] of request.headers.entries()) {
      const altered = { ...request, headers: request.headers.filter((_line, at) => at !== index) };
      expect(await codeOfAsync(() => verifying.verify(altered)), name).toMatch(
        /^(?:verification_failed|invalid_header)$/,
      );
    }
  });

  it('S7: refuses it with any header line doubled', async () => {
    for (const line of request.headers) {
      const altered = { ...request, headers: [...request.headers, line] };
      expect(await codeOfAsync(() => verifying.verify(altered)), line[0]).toMatch(
        /^(?:verification_failed|invalid_header)$/,
      );
    }
  });

  it('refuses Signature-Input and Signature cut at any character', async () => {
    for (const [index, [name, value]] of request.headers.entries()) {
      if (!name.startsWith('Signature')) continue;
      for (let end = 0; end < value.length; end += 1) {
        const cut = request.headers.map((line, at) =>
          at === index ? ([name, value.slice(0, end)] as const) : line,
        );
        const code = await codeOfAsync(() => verifying.verify({ ...request, headers: cut }));
        expect(code, `${name} cut at ${String(end)}`).toBeDefined();
      }
    }
  });
});

function alter(request: ReceivedRequest, where: number, at: number, by: number): ReceivedRequest {
  if (where === 0) return { ...request, method: flip(request.method, at, by) };
  if (where === 1) return { ...request, url: flip(request.url, at, by) };
  if (where === 2) return { ...request, body: Buffer.from(flip(body.toString('latin1'), at, by), 'latin1') };
  const line = (where - 3) % request.headers.length;
  return {
    ...request,
    headers: request.headers.map((given, index) =>
      index === line ? ([given[0], flip(given[1], at, by)] as const) : given,
    ),
  };
}
