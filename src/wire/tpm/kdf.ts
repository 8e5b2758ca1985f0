/** Key derivation of Part 1 §11.4.10: KDFa (SP 800-108 counter mode, HMAC) and KDFe (SP 800-56A). */
import { createHash, createHmac } from 'node:crypto';
import { TpmWriter } from './codec.ts';
import { HASHES, type HashName } from './constants.ts';
import { KeydError } from '../problem.ts';

/** KDFa(hash, key, label, contextU, contextV, bits); `bits` is a multiple of 8. */
export function kdfA(
  hash: HashName,
  key: Uint8Array,
  label: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  bits: number,
): Uint8Array {
  const fixed = new TpmWriter()
    .octets(labelled(label))
    .octets(contextU)
    .octets(contextV)
    .u32(bits)
    .toOctets();
  return blocks(hash, bits, (counter) => createHmac(hash, key).update(counter).update(fixed).digest());
}

/** KDFe(hash, Z, label, PartyUInfo, PartyVInfo, bits): for ECDH secrets; parties are x-coordinates. */
export function kdfE(
  hash: HashName,
  z: Uint8Array,
  label: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  bits: number,
): Uint8Array {
  const fixed = new TpmWriter().octets(z).octets(labelled(label)).octets(partyU).octets(partyV).toOctets();
  return blocks(hash, bits, (counter) => createHash(hash).update(counter).update(fixed).digest());
}

// Part 1 §11.4.10.2: the label's terminating zero octet is part of it.
function labelled(label: string): Uint8Array {
  return Buffer.from(`${label}\0`, 'latin1');
}

function blocks(hash: HashName, bits: number, block: (counter: Uint8Array) => Uint8Array): Uint8Array {
  if (!Number.isInteger(bits) || bits <= 0 || bits % 8 !== 0 || bits > 8 * 255 * HASHES[hash].octets) {
    throw new KeydError('malformed_structure', `${bits} bits can not be derived`);
  }
  const parts: Uint8Array[] = [];
  for (let made = 0, counter = 1; made < bits / 8; made += HASHES[hash].octets, counter += 1) {
    parts.push(block(new TpmWriter().u32(counter).toOctets()));
  }
  return new Uint8Array(Buffer.concat(parts).subarray(0, bits / 8));
}
