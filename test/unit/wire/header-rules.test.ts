import { describe, expect, it } from 'vitest';
import { contentDigest, verifyContentDigest } from '../../../src/wire/content-digest.ts';
import { checkCallerHeaders } from '../../../src/wire/header-rules.ts';
import type { FieldLine } from '../../../src/wire/field-lines.ts';
import { requiredComponents } from '../../../src/wire/profiles.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOf } from '../../support/code-of.ts';

const rules = {
  target: parseTargetUri('https://api.example:8443/'),
  single: new Set(['x-judged']),
  contentOctets: 5,
};
const check = (...lines: FieldLine[]): unknown => codeOf(() => { checkCallerHeaders(lines, rules); }); // prettier-ignore

describe('checkCallerHeaders', () => {
  it('takes ordinary headers', () => {
    expect(
      check(
        ['Host', 'api.example:8443'],
        ['Accept', 'a'],
        ['accept', 'b'],
        ['Content-Type', 'application/json'],
        ['Content-Length', '5'],
        ['X-Judged', 'once\ttab'],
        ['Accept-Signature', 'x'],
        ['DPoP', 'x'],
      ),
    ).toBeUndefined();
  });

  it.each([
    ['a name with a space', ['x y', 'a']],
    ['a name with a colon', ['x:', 'a']],
    ['an empty name', ['', 'a']],
    ['a name outside ASCII', ['é', 'a']],
    ['CR LF in a value', ['x', 'a\r\nevil: 1']],
    ['LF in a value', ['x', 'a\nb']],
    ['CR in a value', ['x', 'a\rb']],
    ['NUL in a value', ['x', 'a\0b']],
    ['a value outside ASCII', ['x', 'é']],
    ['another host', ['Host', 'evil.example']],
    ['a host without the port', ['Host', 'api.example']],
    ['content-digest', ['Content-Digest', 'sha-256=:AA==:']],
    ['signature', ['Signature', 'sig=:AA==:']],
    ['signature-input', ['Signature-Input', 'sig=()']],
    ['signature-key', ['SIGNATURE-KEY', 'sig=jwt']],
    ['signature-agent', ['Signature-Agent', 'x']],
    ['a chain header', ['Agentkeyd-Delegation', 'x']],
    ['connection', ['Connection', 'close']],
    ['transfer-encoding', ['Transfer-Encoding', 'chunked']],
    ['te', ['TE', 'trailers']],
    ['trailer', ['Trailer', 'x']],
    ['upgrade', ['Upgrade', 'h2c']],
    ['keep-alive', ['Keep-Alive', 'x']],
    ['proxy-connection', ['Proxy-Connection', 'x']],
    ['proxy-authorization', ['Proxy-Authorization', 'x']],
    ['a method override', ['X-HTTP-Method-Override', 'DELETE']],
    ['another method override', ['X-HTTP-Method', 'DELETE']],
    ['a third method override', ['X-Method-Override', 'DELETE']],
    ['a path override', ['X-Original-URL', '/admin']],
    ['another path override', ['X-Rewrite-URL', '/admin']],
    ['a method override as CGI reads it', ['X_HTTP_Method_Override', 'DELETE']],
    ['a hop-by-hop field as CGI reads it', ['Transfer_Encoding', 'chunked']],
    ['a digest as CGI reads it', ['Content_Digest', 'sha-256=:AA==:']],
    ['another host as CGI reads it', ['X_Forwarded_Host', 'evil.example']],
    ["another's token as CGI reads it", ['Workload_Identity_Token', 'a.b.c']],
    ['a key that nobody covers as CGI reads it', ['Idempotency_Key', 'a']],
    ['x-forwarded-uri', ['X-Forwarded-Uri', '/admin']],
    ['x-original-uri', ['X-Original-URI', '/admin']],
    ['x-forwarded-host', ['X-Forwarded-Host', 'evil.example']],
    ['forwarded', ['Forwarded', 'host=evil.example']],
    ['another length', ['Content-Length', '6']],
    ['a length with a sign', ['Content-Length', '+5']],
  ] as const)('S7: refuses %s', (_what, line) => {
    expect(check(line)).toBe('invalid_header');
  });

  it.each(['host', 'content-length', 'content-type', 'content-encoding', 'authorization', 'x-judged'])(
    'S7: refuses %s twice, whatever its case',
    (name) => {
      const value = name === 'host' ? 'api.example:8443' : name === 'content-length' ? '5' : 'x';
      expect(check([name, value])).toBeUndefined();
      expect(check([name, value], [name.toUpperCase(), value])).toBe('invalid_header');
    },
  );

  it('S7: refuses a judged field beside one that CGI can not tell from it', () => {
    expect(check(['authorization', 'x'], ['Authorization', 'x'])).toBe('invalid_header');
    expect(check(['x-judged', 'a'], ['x_judged', 'b'])).toBe('invalid_header');
    expect(check(['content-type', 'a/b'], ['Content_Type', 'c/d'])).toBe('invalid_header');
  });

  it('bounds lines and octets', () => {
    expect(check(...Array.from({ length: 129 }, (): FieldLine => ['x', 'a']))).toBe('invalid_header');
    expect(check(['x', 'a'.repeat(32_768)])).toBe('invalid_header');
  });
});

describe('Content-Digest (RFC 9530)', () => {
  const content = Buffer.from('{"hello": "world"}');
  const sha256 = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:';
  const sha512 =
    'sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:';
  const verify = (field: string, octets: Uint8Array = content): unknown => codeOf(() => { verifyContentDigest(field, octets); }); // prettier-ignore

  it('is as RFC 9530 and RFC 9421 B.2 have it', () => {
    expect(contentDigest(content)).toBe(sha256);
    for (const field of [
      sha256,
      sha512,
      `${sha256}, ${sha512}`,
      `${sha256},${sha512}`,
      `md5=:AAAA:, ${sha256}`,
    ]) {
      expect(verify(field)).toBeUndefined();
    }
  });

  it('does not fit other content, in any of its members', () => {
    const other = contentDigest(Buffer.from('x'));
    expect(verify(sha256, Buffer.from('x'))).toBe('verification_failed');
    expect(verify(`${other}, ${sha512}`)).toBe('verification_failed');
    expect(verify('md5=:AAAA:')).toBe('verification_failed');
  });

  it('is refused at every cut and with anything behind it', () => {
    for (let end = 0; end < sha256.length; end += 1) {
      expect(verify(sha256.slice(0, end)), `cut at ${end}`).toBe('invalid_header');
    }
    for (const more of [':', 'x', ';p=1', ',', ', ', '\n'])
      expect(verify(sha256 + more)).toBe('invalid_header');
  });

  it.each([
    ['a member twice', `${sha256}, ${sha256}`],
    ['a hex digest', 'sha-256=:5f8f:'],
    ['base64url', sha256.replace('/', '_').replace('+', '-').replace('X48E9', 'X-_E9')],
    ['padding left out', sha256.replace('=:', ':')],
    ['an upper-case name', sha256.toUpperCase()],
    ['a string', 'sha-256="AAAA"'],
    ['a field that is too long', `${sha256}, x=:${'A'.repeat(1024)}:`],
  ])('refuses %s', (_what, field) => {
    expect(verify(field)).toBe('invalid_header');
  });
});

describe('requiredComponents', () => {
  it('DECISIONS 19: rfc9421 and aauth', () => {
    const fields = new Set([
      'content-type',
      'accept',
      'authorization',
      'idempotency-key',
      'content-encoding',
    ]);
    const extra = ['content-type', 'content-encoding', 'authorization', 'idempotency-key'];
    expect(requiredComponents('rfc9421', new Set(), false)).toEqual(['@method', '@target-uri']);
    expect(requiredComponents('rfc9421', fields, true)).toEqual([
      '@method',
      '@target-uri',
      'content-digest',
      ...extra,
    ]);
    expect(requiredComponents('aauth', fields, true)).toEqual([
      '@method',
      '@authority',
      '@path',
      '@target-uri',
      'signature-key',
      'content-digest',
      ...extra,
    ]);
  });
});
