/** What tpm2-tools made: test/vectors/tpm/README.md. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { EkTemplateName } from '../../../../src/wire/tpm/templates.ts';

interface Vectors {
  readonly nonce: string;
  readonly objects: readonly {
    readonly what: string;
    readonly parent: string;
    readonly publicArea: string;
    readonly name: string;
    readonly qualifiedName: string;
    readonly spki: string;
  }[];
  readonly attests: readonly {
    readonly type: 'certify' | 'quote' | 'creation' | 'nv';
    readonly signer: string;
    readonly attest: string;
    readonly signature: string;
    readonly printed: string | null;
  }[];
  readonly pcrValues: string;
  readonly nvName: string;
  readonly credentials: {
    readonly secret: string;
    readonly name: string;
    readonly ecc: { readonly privateKey: string; readonly blob: string };
    readonly rsa: { readonly privateKey: string; readonly blob: string };
  };
  readonly ekCertificates: Readonly<Partial<Record<EkTemplateName, string>>>;
}

export const vectors = JSON.parse(
  readFileSync(new URL('../../../vectors/tpm/tpm2-tools.json', import.meta.url), 'utf8'),
) as Vectors;

export const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
export const toHex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

/** The object that make.sh calls `what`. */
export function objectNamed(what: string): Vectors['objects'][number] {
  const found = vectors.objects.find((object) => object.what === what);
  if (found === undefined) throw new Error(`no vector ${what}`);
  return found;
}

export const malformed = expect.objectContaining({ code: 'malformed_structure' }) as unknown;

/** Every parser: truncation at every offset and a trailing octet are refused. */
export function expectStrict(parse: (octets: Uint8Array) => unknown, octets: Uint8Array): void {
  parse(octets);
  for (let length = 0; length < octets.length; length += 1) {
    expect(() => parse(octets.subarray(0, length)), `cut at ${length}`).toThrow(malformed);
  }
  expect(() => parse(Buffer.concat([octets, Buffer.of(0)])), 'a trailing octet').toThrow(malformed);
}
