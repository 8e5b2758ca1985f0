/**
 * `TSS2 PRIVATE KEY`, the de-facto ASN.1 form of a wrapped TPM key
 * (draft-woodhouse-cert-best-practice §4): tpm2-openssl and friends read it.
 *
 *     TPMKey ::= SEQUENCE {
 *       type OBJECT IDENTIFIER, emptyAuth [0] EXPLICIT BOOLEAN OPTIONAL, ...,
 *       parent INTEGER, pubkey OCTET STRING, privkey OCTET STRING }
 */
import {
  contextTag,
  der,
  derBoolean,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  readWhole,
} from '../../wire/der.ts';
import { toPem } from '../../wire/pem.ts';
import { TpmReader, TpmWriter } from '../../wire/tpm/codec.ts';

/** id-loadablekey: TPM2_Load under the parent. */
const LOADABLE_KEY = '2.23.133.10.1.3';
const MAX_PUBLIC = 1024;
const MAX_PRIVATE = 4096;
const PEM_LABEL = 'TSS2 PRIVATE KEY';
const WHAT = 'TSS2 PRIVATE KEY';

export interface Tss2PrivateKey {
  /** TPM handle of the parent: persistent 0x81xxxxxx. */
  readonly parent: number;
  /** TPMT_PUBLIC. */
  readonly publicArea: Uint8Array;
  /** Contents of TPM2B_PRIVATE: encrypted and integrity-protected by the parent. */
  readonly privateArea: Uint8Array;
}

/**
 * DER. The key has an auth value, which the file does not hold. `emptyAuth` says so although it may be left
 * out: tpm2-openssl 1.1 takes its absence for an empty auth value.
 */
export function encodeTss2PrivateKey(key: Tss2PrivateKey): Uint8Array {
  return derSequence(
    derOid(LOADABLE_KEY),
    der(contextTag(0), derBoolean(false)),
    derInteger(key.parent),
    derOctetString(new TpmWriter().tpm2b(key.publicArea).toOctets()),
    derOctetString(new TpmWriter().tpm2b(key.privateArea).toOctets()),
  );
}

/**
 * Reads what `encodeTss2PrivateKey` wrote; keys with policies, empty auth or imported form are not ours.
 * @throws KeydError `malformed_structure`
 */
export function decodeTss2PrivateKey(octets: Uint8Array): Tss2PrivateKey {
  return readWhole(octets, WHAT, (outer) => {
    const key = outer.sequence();
    const type = key.oid();
    if (type !== LOADABLE_KEY) key.fail(`is of type ${type}, not a loadable key`);
    const emptyAuth = key.within(contextTag(0));
    if (emptyAuth.boolean()) key.fail('has an empty auth value');
    emptyAuth.end();
    const parent = key.smallInteger(0xffffffff);
    if (parent >>> 24 !== 0x81) key.fail('has a parent that is no persistent handle');
    const publicArea = tpm2bWithin(key.octetString(), 'pubkey', MAX_PUBLIC);
    const privateArea = tpm2bWithin(key.octetString(), 'privkey', MAX_PRIVATE);
    key.end();
    return { parent, publicArea, privateArea };
  });
}

/** RFC 7468 form of the DER. */
export function tss2PrivateKeyToPem(der: Uint8Array): string {
  return toPem(PEM_LABEL, der);
}

function tpm2bWithin(octets: Uint8Array, field: string, max: number): Uint8Array {
  const reader = new TpmReader(octets, `${WHAT} ${field}`);
  const contents = reader.tpm2b(max, field);
  reader.end();
  return contents;
}
