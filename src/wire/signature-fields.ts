/** Signature-Input and Signature as they came in a message (RFC 9421 §4.1, §4.2), taken apart strictly. */
import { combinedFieldValue, type FieldLine } from './field-lines.ts';
import type { SignatureComponent, SignatureParameters } from './http-signature.ts';
import { KeydError } from './problem.ts';
import type { SfBareItem } from './structured-fields.ts';
import { isInnerList, parseSfDictionary } from './structured-fields-parse.ts';

/** One message signature, not verified. */
export interface ReceivedSignature {
  readonly label: string;
  readonly components: readonly SignatureComponent[];
  readonly parameters: SignatureParameters;
  readonly signature: Uint8Array;
}

/**
 * The signature named `label`; signatures under other labels are left to whoever they are for.
 * @throws KeydError `invalid_header` where a field is malformed, `verification_failed` where there is no such signature
 */
export function receivedSignature(headers: readonly FieldLine[], label: string): ReceivedSignature {
  const input = memberOf(headers, 'signature-input', label);
  const value = memberOf(headers, 'signature', label);
  if (!isInnerList(input)) return malformed(`the Signature-Input ${label} is no list of components`);
  if (isInnerList(value) || !(value.value instanceof Uint8Array) || value.parameters.length > 0) {
    return malformed(`the Signature ${label} is no byte sequence`);
  }
  const components = input.items.map(({ value: name, parameters }) =>
    typeof name === 'string'
      ? { name, parameters }
      : malformed(`the Signature-Input ${label} has a component that is no string`),
  );
  return { label, components, parameters: input.parameters, signature: value.value };
}

/** The value of one signature parameter, or undefined. */
export function signatureParameter(parameters: SignatureParameters, name: string): SfBareItem | undefined {
  return parameters.find(([given]) => given === name)?.[1];
}

function memberOf(headers: readonly FieldLine[], field: string, label: string) {
  if (!headers.some(([name]) => name.toLowerCase() === field)) {
    throw new KeydError('verification_failed', `the message has no ${field} header`);
  }
  const member = parseSfDictionary(combinedFieldValue(headers, field), field).get(label);
  if (member === undefined) {
    throw new KeydError('verification_failed', `the message has no signature labelled ${label} in ${field}`);
  }
  return member;
}

function malformed(reason: string): never {
  throw new KeydError('invalid_header', reason);
}
