import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeydError } from '../../../src/wire/problem.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOf } from '../../support/code-of.ts';

describe('parseTargetUri', () => {
  it('takes apart what is canonical', () => {
    expect(parseTargetUri('https://api.example:8443/v1/a%20b/?q=x%2Fy&r=http://z/?')).toEqual({
      scheme: 'https',
      authority: 'api.example:8443',
      host: 'api.example',
      port: 8443,
      path: '/v1/a%20b/',
      query: 'q=x%2Fy&r=http://z/?',
      origin: 'https://api.example:8443',
      canonical: 'https://api.example:8443/v1/a%20b/?q=x%2Fy&r=http://z/?',
    });
  });

  it.each([
    ['http://127.0.0.1:8080/', '127.0.0.1', 8080],
    ['http://localhost/', 'localhost', 80],
    ['https://[::1]:8443/', '[::1]', 8443],
    ['https://[2001:db8::1:0:0:1]/', '[2001:db8::1:0:0:1]', 443],
    ['https://[::]/', '[::]', 443],
    ['https://[1:2:3:4:5:6:7:0]/', '[1:2:3:4:5:6:7:0]', 443],
    ['https://xn--bcher-kva.example/', 'xn--bcher-kva.example', 443],
    ["https://a.example/!$&'()*+,;=:@-._~", 'a.example', 443],
    ['https://a.example/?%00x'.replace('%00', '%0A'), 'a.example', 443],
  ])('takes %s', (text, host, port) => {
    expect(parseTargetUri(text)).toMatchObject({ host, port, canonical: text });
  });

  it.each([
    ['no scheme', 'a.example/'],
    ['another scheme', 'ftp://a.example/'],
    ['an upper-case scheme', 'HTTPS://a.example/'],
    ['one slash', 'https:/a.example/'],
    ['no authority', 'https:///x'],
    ['userinfo', 'https://user@a.example/'],
    ['empty userinfo', 'https://@a.example/'],
    ['userinfo with a host in it', 'https://a.example:443@evil.example/'],
    ['a fragment', 'https://a.example/#x'],
    ['an empty fragment', 'https://a.example/#'],
    ['a backslash for a slash', 'https://a.example\\evil.example/'],
    ['a backslash in the path', 'https://a.example/a\\b'],
    ['a space', 'https://a.example/a b'],
    ['a tab', 'https://a.example/a\tb'],
    ['a line feed at the end', 'https://a.example/\n'],
    ['NUL', 'https://a.example/\0'],
    ['DEL', 'https://a.example/\x7f'],
    ['a letter outside ASCII', 'https://a.example/é'],
    ['a host outside ASCII', 'https://bücher.example/'],
    ['an upper-case host', 'https://A.example/'],
    ['a percent-encoded host', 'https://%61.example/'],
    ['a host with an underscore', 'https://a_b.example/'],
    ['a label that begins with a hyphen', 'https://-a.example/'],
    ['an empty label', 'https://a..example/'],
    ['a trailing dot', 'https://a.example./'],
    ['a label of 64 characters', `https://${'a'.repeat(64)}.example/`],
    ['a host of 254 characters', `https://${'a.'.repeat(126)}aa/`],
    ['the default port', 'https://a.example:443/'],
    ['the default port of http', 'http://a.example:80/'],
    ['an empty port', 'https://a.example:/'],
    ['a port with a zero in front', 'https://a.example:08443/'],
    ['port 0', 'https://a.example:0/'],
    ['port 65536', 'https://a.example:65536/'],
    ['a port with a sign', 'https://a.example:+8443/'],
    ['IPv4 as one number', 'http://2130706433/'],
    ['IPv4 in hexadecimal', 'http://0x7f.0.0.1/'],
    ['IPv4 with two parts', 'http://127.1/'],
    ['IPv4 in octal', 'http://0177.0.0.1/'],
    ['IPv4 out of range', 'http://127.0.0.256/'],
    ['a host that ends in a number', 'http://a.1/'],
    ['IPv6 in long form', 'https://[0:0:0:0:0:0:0:1]/'],
    ['IPv6 with leading zeros', 'https://[2001:0db8::1]/'],
    ['IPv6 in upper case', 'https://[2001:DB8::1]/'],
    ['IPv6 that shortens one group', 'https://[1::3:4:5:6:7:8]/'],
    ['IPv6 that shortens the second of two runs', 'https://[1:0:0:2:3::4]/'],
    ['IPv6 that shortens the shorter run', 'https://[1::2:0:0:0:3]/'],
    ['IPv6 with a zone', 'https://[fe80::1%25eth0]/'],
    ['IPv6 with a dotted tail', 'https://[::ffff:127.0.0.1]/'],
    ['IPv6 with two shortenings', 'https://[1::2::3]/'],
    ['IPv6 with too few groups', 'https://[1:2:3]/'],
    ['IPv6 that does not close', 'https://[::1/'],
    ['no path', 'https://a.example'],
    ['no path before a query', 'https://a.example?x'],
    ['a dot segment', 'https://a.example/a/./b'],
    ['two dots', 'https://a.example/a/../b'],
    ['two dots at the end', 'https://a.example/a/..'],
    ['encoded dots', 'https://a.example/a/%2E%2E/b'],
    ['encoded dots in lower case', 'https://a.example/a/%2e%2e/b'],
    ['half-encoded dots', 'https://a.example/a/.%2E/b'],
    ['an encoded slash', 'https://a.example/a%2Fb'],
    ['an encoded backslash', 'https://a.example/a%5Cb'],
    ['an encoded NUL', 'https://a.example/a%00'],
    ['an encoded NUL in the query', 'https://a.example/?a=%00'],
    ['an encoded control octet', 'https://a.example/a%0D%0Ab'],
    ['an empty segment', 'https://a.example/a//b'],
    ['an empty first segment', 'https://a.example//evil.example/'],
    ['lower-case hex', 'https://a.example/%c3%a9'],
    ['lower-case hex in the query', 'https://a.example/?x=%2f'],
    ['an encoded letter', 'https://a.example/%61'],
    ['an encoded tilde', 'https://a.example/?%7E'],
    ['a lone percent sign', 'https://a.example/100%'],
    ['a percent sign without hex', 'https://a.example/?%zz'],
    ['a percent sign with one digit at the end', 'https://a.example/%A'],
    ['an empty query', 'https://a.example/?'],
    ['a quotation mark', 'https://a.example/"'],
    ['angle brackets', 'https://a.example/<x>'],
    ['a pipe in the query', 'https://a.example/?a|b'],
    ['square brackets in the query', 'https://a.example/?a[]=1'],
    ['8193 characters', `https://a.example/${'a'.repeat(8193 - 18)}`],
    ['nothing', ''],
  ])('S7: refuses %s', (_what, text) => {
    expect(codeOf(() => parseTargetUri(text))).toBe('invalid_target_uri');
  });

  it('refuses a URI cut before its path ends', () => {
    const text = 'https://api.example/';
    for (let end = 0; end < text.length; end += 1) {
      expect(
        codeOf(() => parseTargetUri(text.slice(0, end))),
        `cut at ${end}`,
      ).toBe('invalid_target_uri');
    }
  });

  it('S7: whatever it takes, the URL standard leaves as it is', () => {
    const segment = fc.string({
      unit: fc.constantFrom(..."ab.%2E/?#:@[]\\'|^ é=&0".split('')),
      maxLength: 24,
    });
    fc.assert(
      fc.property(
        fc.constantFrom('https://', 'http://', 'https:'),
        segment,
        segment,
        (scheme, host, rest) => {
          for (const text of [`${scheme}a.example/${rest}`, `${scheme}${host}/${rest}`]) {
            let target;
            try {
              target = parseTargetUri(text);
            } catch (error) {
              expect((error as KeydError).code).toBe('invalid_target_uri');
              continue;
            }
            const url = new URL(text);
            // The one known difference: the URL standard encodes an apostrophe in a query.
            expect(url.href.replaceAll('%27', "'")).toBe(text.replaceAll('%27', "'"));
            expect(url.host).toBe(target.authority);
            expect(url.pathname).toBe(target.path);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
