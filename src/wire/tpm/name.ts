/** Names and Qualified Names (Part 1 §16, §26.5): what a TPM and a Verifier call an object. */
import { createHash } from 'node:crypto';
import { KeydError } from '../problem.ts';
import { TpmReader, TpmWriter } from './codec.ts';
import { HASHES, hashNameOf, type HashName, type TPM_RH } from './constants.ts';

/** A hierarchy that objects live in. */
export type Hierarchy = (typeof TPM_RH)['OWNER' | 'ENDORSEMENT' | 'PLATFORM' | 'NULL'];

/** Name of an object or NV index: nameAlg ‖ H_nameAlg(marshalled public area). */
export function computeName(nameAlg: HashName, publicOctets: Uint8Array): Uint8Array {
  return named(nameAlg, publicOctets);
}

/**
 * Name of a marshalled TPMT_PUBLIC, whose nameAlg is its second field.
 * @throws KeydError `malformed_structure`
 */
export function publicAreaName(publicOctets: Uint8Array): Uint8Array {
  const reader = new TpmReader(publicOctets, 'TPMT_PUBLIC');
  reader.u16();
  return named(reader.hash('nameAlg'), publicOctets);
}

/** Qualified Name of a primary: its parent's Qualified Name is the hierarchy's handle. */
export function primaryQualifiedName(hierarchy: Hierarchy, name: Uint8Array): Uint8Array {
  return childQualifiedName(new TpmWriter().u32(hierarchy).toOctets(), name);
}

/** Qualified Name of a child: nameAlg ‖ H_nameAlg(QN of the parent ‖ Name of the child). */
export function childQualifiedName(parentQualifiedName: Uint8Array, name: Uint8Array): Uint8Array {
  const nameAlg = nameHash(name);
  return named(nameAlg, Buffer.concat([parentQualifiedName, name]));
}

/**
 * The hash a Name was made with.
 * @throws KeydError `malformed_structure` if the octets are no Name
 */
export function nameHash(name: Uint8Array): HashName {
  const nameAlg = name.length < 2 ? undefined : hashNameOf(((name[0] ?? 0) << 8) | (name[1] ?? 0));
  if (nameAlg === undefined || name.length !== 2 + HASHES[nameAlg].octets) {
    throw new KeydError('malformed_structure', `TPM2B_NAME: ${name.length} octets are no Name of an object`);
  }
  return nameAlg;
}

function named(nameAlg: HashName, octets: Uint8Array): Uint8Array {
  return new TpmWriter().hash(nameAlg).octets(createHash(nameAlg).update(octets).digest()).toOctets();
}
