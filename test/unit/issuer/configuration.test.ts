import { chmod, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readIssuerConfig } from '../../../src/issuer/config.ts';
import { HostRegistry } from '../../../src/issuer/host-registry.ts';
import { readSecret } from '../../../src/issuer/secret-source.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let temp: TempDir;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(() => temp.remove());

function faultsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof KeydError) return thrown.faults ?? [];
    throw thrown;
  }
  return [];
}

const REFERENCE = fileURLToPath(new URL('../../../systemd/issuer.toml', import.meta.url));

describe('issuer.toml', () => {
  it('names every fault at once', async () => {
    const file = join(temp.path, 'issuer.toml');
    const text = (await readFile(REFERENCE, 'utf8'))
      .replace('issuer = "https://issuer.example"', 'issuer = "https://issuer.example:8443"')
      .replace('url = "https://issuer.example:8443"', 'url = "http://issuer.example/path"')
      .replace('channel_binding = "exporter"', 'channel_binding = "none"')
      .replace('key = { credential = "tls-key" }', 'key = { credential = "tls-key", file = "/x" }')
      .replace('port = 8443', 'port = 84430')
      .replace('expired_ek_certificate = "refuse"', '');
    await writeFile(file, `${text}\nunknown_key = 1\n`);
    const faults = faultsOf(() => readIssuerConfig(file)).map((fault) => fault.replace(`${file}: `, ''));
    expect(faults).toHaveLength(7);
    expect(faults.join('\n')).toMatch(/issuer is an identifier and has no port/);
    expect(faults.join('\n')).toMatch(/url must be https:\/\/host/);
    expect(faults.join('\n')).toMatch(/channel_binding must be one of exporter, proxied/);
    expect(faults.join('\n')).toMatch(/tls\.key needs exactly one of file and credential/);
    expect(faults.join('\n')).toMatch(/listen\.port must be an integer/);
    expect(faults.join('\n')).toMatch(/appraisal\.expired_ek_certificate is missing/);
    expect(faults.join('\n')).toMatch(/unknown_key is not a known member/);
  });
});

describe('hosts.toml', () => {
  const good = (label: string, ek: string): string =>
    `[[host]]\nlabel = "${label}"\nek_sha256 = "${ek.repeat(64)}"\nname_patterns = ["pay-*"]\nprincipal = "ops@example.org"\n`;
  const registry = async (text: string): Promise<HostRegistry> => {
    const file = join(temp.path, 'hosts.toml');
    await writeFile(file, text);
    return new HostRegistry(file, 3600);
  };

  it('gives the record of an EK, with the configured life as ceiling', async () => {
    const hosts = await registry(`${good('web-1', 'a')}max_ttl_seconds = 86400\n${good('web-2', 'b')}`);
    expect(hosts.size).toBe(2);
    expect(hosts.find('a'.repeat(64))).toMatchObject({
      label: 'web-1',
      maxTtlSeconds: 3600,
      profiles: ['x509', 'wit', 'aauth'],
      tokens: [],
    });
    expect(hosts.find('c'.repeat(64))).toBeUndefined();
  });

  it('may name nobody', async () => {
    expect((await registry('# nobody yet\n')).size).toBe(0);
  });

  it.each([
    ['a label twice', good('web-1', 'a') + good('web-1', 'b'), /two hosts with the label/],
    ['an EK twice', good('web-1', 'a') + good('web-2', 'a'), /two hosts with the ek_sha256/],
    ['a label that is none', good('Web_1', 'a'), /label is wrong/],
    ['an EK hash in capitals', good('web-1', 'A'), /64 lower-case hex digits/],
    ['a pattern for sub-agents', good('web-1', 'a').replace('pay-*', 'pay+*'), /no name pattern/],
    ['no pattern', good('web-1', 'a').replace('"pay-*"', ''), /fewer than 1/],
    ['an unknown key', `${good('web-1', 'a')}sudo = true\n`, /not a known member/],
    ['half a token', `${good('web-1', 'a')}[[host.token]]\nserial = "1"\n`, /manufacturer is missing/],
  ])('refuses %s', async (_what, text, expected) => {
    let message = '';
    try {
      await registry(text);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'configuration_invalid' });
      message = thrown instanceof Error ? thrown.message : '';
    }
    expect(message).toMatch(expected);
  });

  it('with a fault in it leaves the records as they were', async () => {
    const hosts = await registry(good('web-1', 'a'));
    await writeFile(join(temp.path, 'hosts.toml'), 'host = 1\n');
    expect(
      codeOf(() => {
        hosts.reload();
      }),
    ).toBe('configuration_invalid');
    expect(hosts.find('a'.repeat(64))?.label).toBe('web-1');
  });
});

describe('secrets', () => {
  it('come from a private file, without its line end', async () => {
    const file = join(temp.path, 'pin');
    await writeFile(file, '1234\n', { mode: 0o600 });
    expect(readSecret({ file }, 'keys.pin')).toBe('1234');
  });

  it('are refused where others can read the file, and named where there is none', async () => {
    const file = join(temp.path, 'pin');
    await writeFile(file, '1234\n');
    await chmod(file, 0o644);
    expect(codeOf(() => readSecret({ file }, 'keys.pin'))).toBe('configuration_invalid');
    expect(codeOf(() => readSecret({ file: join(temp.path, 'none') }, 'keys.pin'))).toBe(
      'configuration_invalid',
    );
    expect(codeOf(() => readSecret({ credential: 'pin' }, 'keys.pin'))).toBe('configuration_invalid');
  });
});
