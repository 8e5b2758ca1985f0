import { describe, expect, it } from 'vitest';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { codeOf } from '../../support/code-of.ts';
import { withHeader } from '../../support/signed-request.ts';
import { verifier, rfc9421, refusal } from '../../support/verifying-requests.ts';

describe('S5: a verifier knows its own name', () => {
  const evil = rfc9421({ targetUri: 'https://evil.example/v1/pay?to=bob' });
  const toHost = (request: ReceivedRequest, host: string): ReceivedRequest =>
    withHeader(request, 'host', host);

  it('S5: a request signed for evil.example is refused when evil.example sends it on as it was', async () => {
    expect(await refusal(evil)).toBe('verification_failed');
  });

  it('S5: and with the Host of the victim', async () => {
    expect(await refusal(toHost(evil, 'api.example'))).toBe('signature_invalid');
  });

  it('S5: and with X-Forwarded-Host, Forwarded or X-Forwarded-Proto beside it', async () => {
    for (const more of [
      ['X-Forwarded-Host', 'evil.example'],
      ['Forwarded', 'host=evil.example;proto=https'],
      ['X-Forwarded-Proto', 'http'],
    ] as const) {
      const request = toHost(evil, 'api.example');
      expect(await refusal({ ...request, headers: [...request.headers, more] })).toBe('signature_invalid');
    }
  });

  it('S5: behind a proxy that ends TLS, the scheme is the configured one, not the connection’s', async () => {
    const http = rfc9421({ targetUri: 'http://api.example/v1/pay?to=bob' });
    expect(await refusal(http)).toBe('signature_invalid');
    expect(await refusal(rfc9421())).toBeUndefined();
  });

  it('S5: X-Forwarded-Host counts only from a trusted proxy, and only for an own origin', async () => {
    const behind = (request: ReceivedRequest, forwarded: string, remoteAddress: string): ReceivedRequest => ({
      ...request,
      headers: [...toHost(request, 'backend:8080').headers, ['X-Forwarded-Host', forwarded]],
      remoteAddress,
    });
    const trustedProxies = ['10.0.0.0/8', 'fd00::1'];
    expect(await refusal(behind(rfc9421(), 'api.example', '10.1.2.3'), { trustedProxies })).toBeUndefined();
    expect(
      await refusal(behind(rfc9421(), 'api.example', '::ffff:10.1.2.3'), { trustedProxies }),
    ).toBeUndefined();
    expect(await refusal(behind(rfc9421(), 'api.example', 'fd00::1'), { trustedProxies })).toBeUndefined();
    expect(await refusal(behind(rfc9421(), 'api.example', '192.0.2.1'), { trustedProxies })).toBe(
      'verification_failed',
    );
    expect(await refusal(behind(rfc9421(), 'api.example', '10.1.2.3'))).toBe('verification_failed');
    expect(await refusal(behind(evil, 'evil.example', '10.1.2.3'), { trustedProxies })).toBe(
      'verification_failed',
    );
    expect(await refusal(behind(evil, 'api.example', '10.1.2.3'), { trustedProxies })).toBe(
      'signature_invalid',
    );
    const twice = behind(rfc9421(), 'api.example', '10.1.2.3');
    expect(
      await refusal(
        { ...twice, headers: [...twice.headers, ['X-Forwarded-Host', 'api.example']] },
        { trustedProxies },
      ),
    ).toBe('verification_failed');
  });

  it.each([
    ['is missing', undefined],
    ['is another', 'other.example'],
    ['names the default port', 'api.example:443'],
    ['is in upper case', 'API.example'],
    ['ends in a dot', 'api.example.'],
    ['is two in one', 'api.example, evil.example'],
  ])('S5: a Host that %s is refused', async (_what, host) => {
    expect(await refusal(withHeader(rfc9421(), 'host', host))).toBe('verification_failed');
  });

  it('S5: a repeated Host is refused, even if both agree', async () => {
    const request = rfc9421();
    expect(await refusal({ ...request, headers: [...request.headers, ['host', 'api.example']] })).toBe(
      'verification_failed',
    );
  });

  it('S5: an absolute form that disagrees with Host or scheme is refused', async () => {
    for (const url of ['https://evil.example/v1/pay?to=bob', 'http://api.example/v1/pay?to=bob']) {
      expect(await refusal({ ...rfc9421(), url })).toBe('verification_failed');
    }
  });

  it.each(['*', 'api.example:443', '//evil.example/x', '/a/../v1/pay', '/v1/%70ay', ''])(
    'S7: the request target %j is refused',
    async (url) => {
      expect(await refusal({ ...rfc9421(), url })).toBe('invalid_target_uri');
    },
  );

  it('S5: origins have no default, are canonical, and differ in more than the scheme', () => {
    for (const origins of [
      [],
      ['https://api.example/'],
      ['https://API.example'],
      ['https://api.example:443'],
      ['api.example'],
      ['https://api.example/v1'],
      ['https://api.example', 'http://api.example'],
    ]) {
      expect(codeOf(() => verifier({ origins }))).toBe('configuration_invalid');
    }
  });
});
